import { check, libc } from "./libc.ts";
import { cString, scratch } from "./scratch.ts";
import { Sys } from "./syscall-numbers.ts";

const PR_SET_NAME = 15;
/** glibc keeps the first two real-time signals for itself; 34 is its SIGRTMIN. */
const KICK_SIGNAL = 34;

/** The kernel's id of the calling thread. */
export function threadId(): number {
  return libc.gettid();
}

/** Names the calling thread, for ps and for logs. The kernel keeps 15 bytes. @throws SysError */
export function setThreadName(name: string): void {
  check(libc.prctl(PR_SET_NAME, cString(name), 0, 0, 0), `name the thread ${name}`);
}

/**
 * Makes the kick signal interrupt blocking system calls without doing anything else: its handler is a C library function
 * without side effects, since JavaScript cannot run in a signal handler. Once per process.
 * @throws SysError
 */
export function installKickSignal(): void {
  const handler = libc.dlsym(0, cString("abs"));
  if (handler === 0) throw new Error("the C library has no symbol abs to use as signal handler");
  const { view, address, u8 } = scratch();
  u8.fill(0, 0, 152);
  view.setBigUint64(0, BigInt(handler), true);
  check(libc.sigaction(KICK_SIGNAL, address, 0), "sigaction of the kick signal");
}

/** Signals that code here names (asm-generic/signal.h). */
export const Signal = { HUP: 1, INT: 2, QUIT: 3, KILL: 9, TERM: 15, TSTP: 20, TTIN: 21, TTOU: 22 } as const;
const SIG_IGN = 1n;

/** Makes the process ignore a signal. @throws SysError */
export function ignoreSignal(signal: number): void {
  const { view, address, u8 } = scratch();
  u8.fill(0, 0, 152);
  view.setBigUint64(0, SIG_IGN, true);
  check(libc.sigaction(signal, address, 0), `ignore signal ${signal}`);
}

/** Interrupts the blocking system call of a thread of this process. A thread that is gone is no error. */
export function kickThread(tid: number): void {
  libc.syscall(Sys.tgkill, libc.getpid(), tid, KICK_SIGNAL, 0, 0, 0);
}

const PR_SCHED_CORE = 62;
const PR_SCHED_CORE_CREATE = 1;
/** Which threads get the new cookie (linux/prctl.h, enum pid_type). */
const CookieScope = { THREAD: 0, PROCESS: 1 } as const;

/**
 * Gives the calling thread, or the whole process and the threads it will start, a core scheduling cookie of its own: the
 * host runs nobody else on the sibling of a core they run on (Documentation/admin-guide/hw-vuln/core-scheduling.rst). A host
 * without core scheduling, or without siblings, runs as before.
 */
export function isolateCores(scope: "thread" | "process"): void {
  const type = scope === "thread" ? CookieScope.THREAD : CookieScope.PROCESS;
  libc.prctl(PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, type, 0);
}

/** Bytes of a set of host CPUs: as many as any kernel knows. */
export const CPU_SET_BYTES = 1024;

/** The host CPUs that the calling thread may run on. @throws SysError */
export function threadAffinity(): number[] {
  const { u8, address } = scratch();
  u8.fill(0, 0, CPU_SET_BYTES);
  check(libc.sched_getaffinity(0, CPU_SET_BYTES, address), "read the thread's CPUs");
  const cpus: number[] = [];
  for (let cpu = 0; cpu < CPU_SET_BYTES * 8; cpu++) if (((u8[cpu >> 3] ?? 0) & (1 << (cpu & 7))) !== 0) cpus.push(cpu);
  return cpus;
}

/**
 * Binds the calling thread to host CPUs.
 * @param cpus host CPU numbers below 8192
 * @throws SysError, RangeError
 */
export function setThreadAffinity(cpus: readonly number[]): void {
  const { u8, address } = scratch();
  u8.fill(0, 0, CPU_SET_BYTES);
  for (const cpu of cpus) {
    if (!Number.isInteger(cpu) || cpu < 0 || cpu >= CPU_SET_BYTES * 8)
      throw new RangeError(`host CPU ${cpu} out of range`);
    u8[cpu >> 3] = (u8[cpu >> 3] ?? 0) | (1 << (cpu & 7));
  }
  check(libc.sched_setaffinity(0, CPU_SET_BYTES, address), `bind the thread to CPUs ${cpus.join(",")}`);
}
