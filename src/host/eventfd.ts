import { Errno, SysError } from "./errno.ts";
import { check, errno, libc } from "./libc.ts";
import { mapForThread } from "./mmap.ts";

const EFD_NONBLOCK = 0o4000;
const EFD_CLOEXEC = 0o2000000;

/** Constant and throw-away words for eventfd reads and writes, per thread. */
const words = mapForThread(16);
words.u32[0] = 1;

/** A new non-blocking, close-on-exec eventfd with count 0. @throws SysError */
export function createEventFd(): number {
  return check(libc.eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), "eventfd");
}

/** Adds 1 to an eventfd's count. A count at its limit already signals, so that is no error. @throws SysError */
export function signalEventFd(fd: number): void {
  if (libc.write(fd, words.address, 8) < 0 && errno() !== Errno.EAGAIN)
    throw new SysError(errno(), `signal eventfd ${fd}`);
}

/** Takes an eventfd's count to 0. @returns whether it had been signalled. @throws SysError */
export function drainEventFd(fd: number): boolean {
  if (libc.read(fd, words.address + 8, 8) === 8) return true;
  if (errno() === Errno.EAGAIN || errno() === Errno.EINTR) return false;
  throw new SysError(errno(), `read eventfd ${fd}`);
}
