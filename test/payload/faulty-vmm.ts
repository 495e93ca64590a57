import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { runCloudHypervisor } from "../../src/cli/cloud-hypervisor.ts";
import { libc } from "../../src/host/libc.ts";
import { kickThread } from "../../src/host/thread.ts";
import { isTerminal } from "../../src/host/tty.ts";
import { unlessGone } from "../unit/unless-gone.ts";

/**
 * The VMM with a fault: bun faulty-vmm.ts KIND ARGUMENTS... A line on stdin, where it is no terminal, or SIGUSR2 brings it
 * about. The fault of a thread is that a descriptor of a kind that it alone has is taken away from it: it throws at its next
 * system call. The faults of the main thread are errors that nobody catches.
 */
const FAULTS: Readonly<Record<string, () => void>> = {
  vcpu: () => takeDescriptor(/^anon_inode:kvm-vcpu:/),
  block: () => takeDescriptor(/^anon_inode:\[io_uring\]/),
  // The runtime's threads have such descriptors as well, but look at one or two others each.
  io: () => takeDescriptor(/^anon_inode:\[eventpoll\]/, 3),
  listener: () => {
    throw new Error("a listener failed", { cause: new Error("on purpose") });
  },
  promise: () => {
    Promise.reject(new Error("a promise failed", { cause: new Error("on purpose") }));
  },
};

/** The only descriptor of a kind that looks at so many others at least (proc_pid_fdinfo(5), tfd). */
function theOne(link: RegExp, targets: number): number {
  const matching = readdirSync("/proc/self/fd").filter((fd) => {
    if (!link.test(unlessGone(() => readlinkSync(`/proc/self/fd/${fd}`)) ?? "")) return false;
    const info = unlessGone(() => readFileSync(`/proc/self/fdinfo/${fd}`, "latin1")) ?? "";
    return info.split("\n").filter((line) => line.startsWith("tfd:")).length >= targets;
  });
  const [fd, ...more] = matching;
  if (fd === undefined || more.length > 0) throw new Error(`descriptors that are ${link}: ${matching}`);
  return Number(fd);
}

function takeDescriptor(link: RegExp, targets = 0): void {
  libc.close(theOne(link, targets));
  // A thread that sleeps in the kernel does not know yet.
  for (const tid of readdirSync("/proc/self/task").map(Number)) if (tid !== process.pid) kickThread(tid);
}

const [kind = "", ...argv] = process.argv.slice(2);
const fault = FAULTS[kind];
if (fault === undefined) throw new Error(`no fault of kind ${kind}`);
process.on("SIGUSR2", fault);
if (!isTerminal(0)) process.stdin.once("data", fault);
await runCloudHypervisor(argv);
