// filtered-calls.ts block|vcpu: prints as JSON how many nanoseconds the system call takes that such a thread makes most, without
// filters and with its own. The call fails at once, so that little but the filters shows.
import { confineProcess } from "../../src/cli/confine-process.ts";
import { libc } from "../../src/host/libc.ts";
import { Sys } from "../../src/host/syscall-numbers.ts";
import { Kvm } from "../../src/hypervisor/kvm/abi.ts";
import { confineThread } from "../../src/threads/confinement.ts";
import { FILTERS } from "../payload/seccomp/kinds.ts";

const NO_FD = -1;
const CALLS = {
  block: () => libc.syscall(Sys.io_uring_enter, NO_FD, 0, 0, 0, 0, 0),
  vcpu: () => libc.ioctl(NO_FD, Kvm.RUN, 0),
};
/** The fastest of many short rounds: what else the machine does disturbs some of them, not all. */
const ROUNDS = 6000;
const CALLS_EACH = 500;

const [kind] = process.argv.slice(2);
if (kind !== "block" && kind !== "vcpu") throw new Error("filtered-calls.ts block|vcpu");
const call = CALLS[kind];

function nanoseconds(): number {
  let fastest = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const start = Bun.nanoseconds();
    for (let i = 0; i < CALLS_EACH; i++) call();
    fastest = Math.min(fastest, (Bun.nanoseconds() - start) / CALLS_EACH);
  }
  return fastest;
}

// The compiler's work comes first.
nanoseconds();
const free = nanoseconds();
confineProcess("trap");
confineThread(FILTERS[kind], "trap");
console.log(JSON.stringify({ free, filtered: nanoseconds() }));
