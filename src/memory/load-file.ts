import { Errno, SysError } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import { type GuestMemory, GuestMemoryError } from "./guest-memory.ts";

/** Linux moves at most this much in one call (read(2)); a multiple of the page size. */
const MAX_READ_BYTES = 0x7fff_f000;

/**
 * Copies part of a file straight into guest RAM.
 * @throws GuestMemoryError where the range is not in one region; SysError; Error when the file ends early
 */
export function readFileInto(memory: GuestMemory, fd: number, fileOffset: number, gpa: number, length: number): void {
  const start = memory.hva(gpa, length);
  if (start === 0) throw new GuestMemoryError(gpa, length);
  for (let done = 0; done < length; ) {
    const count = libc.pread(fd, start + done, Math.min(length - done, MAX_READ_BYTES), fileOffset + done);
    if (count === 0) throw new Error(`the file ended at offset ${fileOffset + done}: it shrank while it was read`);
    if (count > 0) done += count;
    else if (errno() !== Errno.EINTR) throw new SysError(errno(), `read ${length} bytes into guest RAM`);
  }
}
