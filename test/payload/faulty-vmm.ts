import { readdirSync, readlinkSync } from "node:fs";
import { runCloudHypervisor } from "../../src/cli/cloud-hypervisor.ts";
import { libc } from "../../src/host/libc.ts";
import { kickThread } from "../../src/host/thread.ts";

/**
 * The VMM with a fault in one of its threads: bun faulty-vmm.ts KIND ARGUMENTS... A line on stdin takes the newest
 * descriptor of that kind away from the thread that works with it, which throws at its next system call.
 */
const KINDS: Readonly<Record<string, RegExp>> = {
  vcpu: /^anon_inode:kvm-vcpu/,
  block: /^anon_inode:\[io_uring\]/,
  io: /^anon_inode:\[eventpoll\]/,
};

const [kind = "", ...argv] = process.argv.slice(2);
const wanted = KINDS[kind];
if (wanted === undefined) throw new Error(`no fault of kind ${kind}`);

function newest(link: RegExp): number {
  const fds = readdirSync("/proc/self/fd").map(Number);
  const matching = fds.filter((fd) => {
    try {
      return link.test(readlinkSync(`/proc/self/fd/${fd}`));
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "ENOENT") return false;
      throw error;
    }
  });
  return Math.max(...matching);
}

process.stdin.once("data", () => {
  libc.close(newest(wanted));
  // A thread that sleeps in the kernel does not know yet.
  for (const tid of readdirSync("/proc/self/task").map(Number)) if (tid !== process.pid) kickThread(tid);
});
await runCloudHypervisor(argv);
