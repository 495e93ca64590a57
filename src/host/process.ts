import { check, libc } from "./libc.ts";
import { Sys } from "./syscall-numbers.ts";

/** A descriptor of a child that has not been reaped, close-on-exec (pidfd_open(2)). @throws SysError */
export function openPidFd(pid: number): number {
  return check(libc.syscall(Sys.pidfd_open, pid, 0, 0, 0, 0, 0), `watch process ${pid}`);
}

/** Sends a signal to the process of a pidfd (pidfd_send_signal(2)). A process that has ended is no error. */
export function signalProcess(pidFd: number, signal: number): void {
  libc.syscall(Sys.pidfd_send_signal, pidFd, signal, 0, 0, 0, 0);
}

/** The name of a signal, as SIGKILL; `signal 64` of one that has none. */
export function signalName(signal: number): string {
  // Loading the module takes memory that only something to report is worth.
  const { constants } = process.getBuiltinModule("node:os");
  for (const [name, value] of Object.entries(constants.signals)) if (value === signal) return name;
  return `signal ${signal}`;
}
