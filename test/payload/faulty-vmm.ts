import { readdirSync, readlinkSync } from "node:fs";
import { runCloudHypervisor } from "../../src/cli/cloud-hypervisor.ts";
import { libc } from "../../src/host/libc.ts";
import { kickThread } from "../../src/host/thread.ts";
import { isTerminal } from "../../src/host/tty.ts";
import { unlessGone } from "../unit/unless-gone.ts";

/**
 * The VMM with a fault: bun faulty-vmm.ts KIND ARGUMENTS... A line on stdin, where it is no terminal, or SIGUSR2 brings it
 * about. The fault of a thread is that the newest descriptor of a kind is taken away from it: it throws at its next system
 * call. The faults of the main thread are errors that nobody catches.
 */
const FAULTS: Readonly<Record<string, () => void>> = {
  vcpu: () => takeDescriptor(/^anon_inode:kvm-vcpu:/),
  block: () => takeDescriptor(/^anon_inode:\[io_uring\]/),
  io: () => takeDescriptor(/^anon_inode:\[eventpoll\]/),
  listener: () => {
    throw new Error("a listener failed", { cause: new Error("on purpose") });
  },
  promise: () => {
    Promise.reject(new Error("a promise failed", { cause: new Error("on purpose") }));
  },
};

function newest(link: RegExp): number {
  const fds = readdirSync("/proc/self/fd").map(Number);
  const matching = fds.filter((fd) => link.test(unlessGone(() => readlinkSync(`/proc/self/fd/${fd}`)) ?? ""));
  return Math.max(...matching);
}

function takeDescriptor(link: RegExp): void {
  libc.close(newest(link));
  // A thread that sleeps in the kernel does not know yet.
  for (const tid of readdirSync("/proc/self/task").map(Number)) if (tid !== process.pid) kickThread(tid);
}

const [kind = "", ...argv] = process.argv.slice(2);
const fault = FAULTS[kind];
if (fault === undefined) throw new Error(`no fault of kind ${kind}`);
process.on("SIGUSR2", fault);
if (!isTerminal(0)) process.stdin.once("data", fault);
await runCloudHypervisor(argv);
