import { Errno, SysError } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import { scratch } from "./scratch.ts";
import { i32, struct, u16, u64 } from "./struct.ts";

/** struct flock (bits/fcntl.h). */
export const flock = struct("flock", { l_type: u16, l_whence: u16, l_start: u64, l_len: u64, l_pid: i32 });

const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;

/**
 * Locks a file against other open file descriptions, for as long as its own lives.
 * @param length bytes from the start; 0 is the whole file, whatever its size will be
 * @returns false when somebody else has it
 * @throws SysError
 */
export function tryLockFile(fd: number, kind: "shared" | "exclusive", length: number): boolean {
  const block = scratch();
  const lock = flock.at(block);
  lock.l_type = kind === "shared" ? F_RDLCK : F_WRLCK;
  lock.l_whence = 0;
  lock.l_start = 0;
  lock.l_len = length;
  lock.l_pid = 0;
  while (libc.fcntl(fd, F_OFD_SETLK, block.address) < 0) {
    const error = errno();
    if (error === Errno.EINTR) continue;
    if (error === Errno.EAGAIN || error === Errno.EACCES) return false;
    throw new SysError(error, `lock fd ${fd}, ${kind}`);
  }
  return true;
}
