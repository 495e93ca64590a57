import { Errno, SysError } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import { scratch } from "../host/scratch.ts";
import { i32, struct, u16, u64 } from "../host/struct.ts";
import { DiskImageError } from "./image-error.ts";

/** struct flock (bits/fcntl.h). */
export const flock = struct("flock", { l_type: u16, l_whence: u16, l_start: u64, l_len: u64, l_pid: i32 });

const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;

/**
 * Locks an image against use by another process, for as long as its open file description lives: shared for reading,
 * exclusive for writing.
 * @param length bytes from the start; 0 is the whole file, whatever its size will be
 * @throws DiskImageError when somebody else has it, or it cannot be locked
 */
export function lockImage(path: string, fd: number, readonly: boolean, length: number): void {
  const block = scratch();
  const lock = flock.at(block);
  lock.l_type = readonly ? F_RDLCK : F_WRLCK;
  lock.l_whence = 0;
  lock.l_start = 0;
  lock.l_len = length;
  lock.l_pid = 0;
  while (libc.fcntl(fd, F_OFD_SETLK, block.address) < 0) {
    const error = errno();
    if (error === Errno.EINTR) continue;
    const cause = new SysError(error, `lock ${path} for ${readonly ? "reading" : "writing"}`);
    if (error !== Errno.EAGAIN && error !== Errno.EACCES) throw new DiskImageError(path, "cannot be locked", { cause });
    throw new DiskImageError(
      path,
      readonly
        ? "is being written by another process: stop that one first"
        : "is in use by another process: stop that one first, or let all its users open it with readonly=on",
      { cause },
    );
  }
}
