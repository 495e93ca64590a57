import { Errno } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import { waitReadable } from "./poll.ts";
import { Sys } from "./syscall-numbers.ts";

/**
 * Waits until a process has ended and let go of all it had; whoever started it still has to reap it (pidfd_open(2)).
 * @returns false when it has not within that time
 */
export function waitForEnd(pid: number, timeoutMs: number): boolean {
  const fd = libc.syscall(Sys.pidfd_open, pid, 0, 0, 0, 0, 0);
  if (fd < 0) return errno() === Errno.ESRCH;
  try {
    return waitReadable(fd, timeoutMs);
  } finally {
    libc.close(fd);
  }
}
