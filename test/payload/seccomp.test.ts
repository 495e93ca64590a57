import { afterEach, describe, expect, test } from "bun:test";
import { truncateSync, writeFileSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { libc } from "../../src/host/libc.ts";
import { policyNumbers } from "../../src/host/seccomp/filter-program.ts";
import { Sys } from "../../src/host/syscall-numbers.ts";
import { threadAffinity } from "../../src/host/thread.ts";
import { threadStatuses } from "../unit/thread-statuses.ts";
import { ApiVmm } from "./api-vmm.ts";
import { eventually } from "./eventually.ts";
import { expectPass } from "./expect.ts";
import { PayloadProcess } from "./process.ts";
import { ACTS, type Act } from "./seccomp/acts.ts";
import { KINDS, type Kind } from "./seccomp/kinds.ts";
import { runProbe } from "./seccomp/run-probe.ts";
import { vmmArguments, vmmPath } from "./vmm.ts";
import { withoutSyscalls } from "./without-syscalls.ts";

afterEach(() => Bun.gc(true));

const EPERM = 1;
const EACCES = 13;
const SECCOMP_MODE_FILTER = 2;
/** As the kernel shortens it. */
const MAIN_THREAD = "cloud-hyperv";

/** What a thread has to be able to do. Nothing else of the acts is anybody's. */
const NEEDED: Readonly<Record<Kind, readonly Act[]>> = {
  vmm: [
    "open /etc/passwd",
    "open for writing",
    "socket of the network",
    "socket of the host",
    "connect",
    "ioctl KVM_CREATE_VM",
    "io_uring_setup",
  ],
  vcpu: [],
  block: [],
  net: [],
  io: [],
  vsock: ["socket of the host", "connect"],
  watcher: [],
};

function outcomes(kind: Kind, mode: string): Record<string, "done" | number> {
  const { exitCode, stdout, stderr } = runProbe(kind, mode);
  if (exitCode !== 0) throw new Error(`the probe of ${kind} failed: ${stderr}`);
  return Object.fromEntries(JSON.parse(String(stdout)));
}

describe.each(KINDS)("what a taken-over thread may try: %s", (kind) => {
  const free = outcomes(kind, "false");

  test("fails where the thread does not need it", () => {
    const confined = outcomes(kind, "errno");
    for (const act of ACTS) {
      const refused = act.startsWith("open ") ? EACCES : EPERM;
      expect([act, confined[act]]).toEqual([act, NEEDED[kind].includes(act) ? free[act] : refused]);
    }
    expect(Object.values(free)).not.toContain(EPERM);
  });

  test("goes on when it is only logged", () => {
    expect(outcomes(kind, "log")).toEqual(free);
  });

  test("ends the process, which names the thread and the system call", () => {
    const { signalCode, stderr } = runProbe(kind, "trap", "execve");
    expect(signalCode).toBe("SIGSYS");
    // The main thread of the probe has the name of Bun's.
    const thread = kind === "vmm" ? "bun[^ ]*" : `probe-${kind}`;
    expect(String(stderr)).toMatch(
      new RegExp(`^Probable seccomp violation: si_syscall=59 si_arch=0xc000003e thread=${thread}$`, "m"),
    );
  });
});

/** How many filters each thread of a process has, and whether they are on. */
function filtersOf(pid: number): { name: string; mode: number; filters: number }[] {
  return threadStatuses(pid).map((thread) => ({
    name: thread.name,
    mode: Number(thread.field("Seccomp")),
    filters: Number(thread.field("Seccomp_filters")),
  }));
}

async function busyGuest(...options: string[]): Promise<ApiVmm> {
  const vmm = await ApiVmm.start("--no-shutdown", ...options);
  const path = join(vmm.folder, "disk.raw");
  writeFileSync(path, "");
  truncateSync(path, 16 << 20);
  const devices = {
    disks: [
      { path, image_type: "Raw", num_queues: 2, queue_affinity: [{ queue_index: 0, host_cpus: threadAffinity() }] },
    ],
    rng: { src: "/dev/urandom" },
    balloon: { size: 0 },
    vsock: { cid: 3, socket: join(vmm.folder, "vsock") },
    watchdog: true,
    cpus: { boot_vcpus: 2, max_vcpus: 2 },
  };
  vmm.put("vm.create", await vmm.config("hotplug", "", devices));
  vmm.put("vm.boot");
  await vmm.guestLine("READY");
  return vmm;
}

/** Waits until these threads have filters of their own, as those of devices have some time after the guest has begun. */
function confined(vmm: ApiVmm, ...names: string[]): Promise<ReturnType<typeof filtersOf>> {
  return eventually(`filters of ${names}`, 10_000, () => {
    const threads = filtersOf(vmm.process.pid);
    const own = threads.filter(({ filters }) => filters === 2).map(({ name }) => name);
    return names.every((name) => own.includes(name)) ? threads : undefined;
  });
}

const SERVING = ["vcpu0", "vcpu1", "_disk0_q0", "_disk0_q1", "io"];

describe("threads of a VMM whose guest runs", () => {
  test("all have a filter, those that serve the guest one of their own", async () => {
    await using vmm = await busyGuest();
    const threads = await confined(vmm, ...SERVING, "http-server");
    expect(threads.filter(({ mode }) => mode !== SECCOMP_MODE_FILTER)).toEqual([]);
    expect(threads.find(({ name }) => name.startsWith(MAIN_THREAD))?.filters).toBe(1);
  });

  test("have them after a reboot, and one that is plugged in as well", async () => {
    await using vmm = await busyGuest();
    vmm.put("vm.reboot");
    await vmm.guestLine("READY");
    const path = join(vmm.folder, "more.raw");
    writeFileSync(path, "");
    truncateSync(path, 16 << 20);
    vmm.put("vm.add-disk", { path, image_type: "Raw", id: "more" });
    const threads = await confined(vmm, ...SERVING, "more_q0");
    expect(threads.filter(({ mode }) => mode !== SECCOMP_MODE_FILTER)).toEqual([]);
  });

  test("have none with --seccomp false", async () => {
    await using vmm = await busyGuest("--seccomp", "false");
    expect(filtersOf(vmm.process.pid).filter(({ mode }) => mode !== 0)).toEqual([]);
  });

  // Linux 5.11 brought epoll_pwait2, Linux 4.11 statx: the runtime has other ways.
  test("serve, and serve again after a reset, on a kernel that lacks what newer ones have", async () => {
    const { epoll_pwait2, statx } = policyNumbers("x86_64").syscalls;
    const denied = [epoll_pwait2, statx].filter((number) => number !== undefined);
    const command = [...(await withoutSyscalls(denied)), vmmPath(), ...(await vmmArguments("reboot"))];
    const machine = new PayloadProcess(command, 60_000, true);
    const boot = (line: string): boolean => line === "BOOT";
    await machine.nextLine(boot);
    machine.write("a");
    await machine.nextLine(boot);
    machine.write("q");
    expectPass(await machine.outcome());
  });

  // The allocator takes this variable's number for that of the host's nodes.
  test("serve on a host of several NUMA nodes", async () => {
    const command = [
      "env",
      "MIMALLOC_USE_NUMA_NODES=2",
      vmmPath(),
      ...(await vmmArguments("hello", { extra: ["--rng"] })),
    ];
    expectPass(await new PayloadProcess(command, 60_000).outcome());
  });
});

// Its report takes system calls that nothing else needs.
describe("the runtime's own crash ends the process by its signal, and is told as such", () => {
  const kill = (pid: number, tid: number, signal: number): number =>
    libc.syscall(Sys.tgkill, pid, tid, signal, 0, 0, 0);
  const signals = ["SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGSEGV"] as const;
  const others = ["io", "http-server", MAIN_THREAD].map((name) => [name, "SIGSEGV"] as const);
  test.each([...signals.map((signal) => ["vcpu0", signal] as const), ...others])("%s, %s", async (name, signal) => {
    await using vmm = await ApiVmm.start();
    vmm.put("vm.create", await vmm.config("reboot"));
    vmm.put("vm.boot");
    await vmm.guestLine("BOOT");
    if (name !== MAIN_THREAD) await confined(vmm, name);
    const { pid } = vmm.process;
    const tid = threadStatuses(pid).find((thread) => thread.name.startsWith(name))?.tid ?? 0;
    expect(kill(pid, tid, constants.signals[signal])).toBe(0);
    const [stderr] = await Promise.all([vmm.process.stderr.text(), vmm.process.exited]);
    expect(vmm.process.signalCode).toBe(signal);
    expect(stderr).toContain("panic");
    expect(stderr).not.toContain("seccomp");
  });
});
