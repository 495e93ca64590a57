import { Errno, SysError } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import { mapForThread } from "./mmap.ts";
import { Sys } from "./syscall-numbers.ts";

const FUTEX_WAIT_PRIVATE = 128;
const FUTEX_WAKE_PRIVATE = 129;

/** The thread's struct timespec for bounded waits. */
const timeout = mapForThread(16);

/**
 * Sleeps while the 32-bit word at `address` equals `expected`, at most `timeoutMs` (no limit when absent). May return
 * early for no reason (a signal, a race): callers loop on their condition.
 * @returns false on a time-out
 * @throws SysError
 */
export function futexWait(address: number, expected: number, timeoutMs?: number): boolean {
  let limit = 0;
  if (timeoutMs !== undefined) {
    const seconds = Math.floor(timeoutMs / 1000);
    timeout.view.setBigInt64(0, BigInt(seconds), true);
    timeout.view.setBigInt64(8, BigInt(Math.floor((timeoutMs - seconds * 1000) * 1e6)), true);
    limit = timeout.address;
  }
  if (libc.syscall(Sys.futex, address, FUTEX_WAIT_PRIVATE, expected >>> 0, limit, 0, 0) === 0) return true;
  const error = errno();
  if (error === Errno.ETIMEDOUT) return false;
  if (error === Errno.EAGAIN || error === Errno.EINTR) return true;
  throw new SysError(error, "futex wait");
}

/** Wakes up to `count` threads that sleep on the word at `address`. */
export function futexWake(address: number, count: number): void {
  libc.syscall(Sys.futex, address, FUTEX_WAKE_PRIVATE, count, 0, 0, 0);
}
