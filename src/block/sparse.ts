import { Errno } from "../host/errno.ts";
import { AllocateFlag } from "../host/fallocate.ts";
import { errno, libc } from "../host/libc.ts";
import { mapForThread } from "../host/mmap.ts";
import { BlockRequest } from "./linux-abi.ts";

const { KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE } = AllocateFlag;

const ZEROES_BYTES = 256 * 1024;

/** The thread's argument of a block device request, and zeroes to write; the latter cost nothing until used. */
const range = mapForThread(16);
let zeroes: { readonly address: number } | undefined;

/**
 * Whether the file can give space back or be zeroed without writing: tried on a byte beyond its end.
 * @param size the file's bytes
 */
export function canBeSparse(fd: number, size: number): boolean {
  return (
    libc.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, size, 1) === 0 ||
    libc.fallocate(fd, ZERO_RANGE | KEEP_SIZE, size, 1) === 0
  );
}

/** Allocates all of the file's space. @returns 0 or an errno */
export function preallocate(fd: number, size: number): number {
  return size === 0 ? 0 : allocate(fd, KEEP_SIZE, 0, size);
}

/**
 * Gives space back; the range reads as zeroes afterwards, on a block device possibly as anything.
 * @param file open for writing, without O_DIRECT
 * @returns 0 or an errno
 */
export function discardRange(file: number, isDevice: boolean, offset: number, length: number): number {
  if (isDevice) {
    const error = deviceRequest(file, BlockRequest.BLKDISCARD, offset, length);
    return error === Errno.EOPNOTSUPP ? 0 : error;
  }
  const error = punchHole(file, offset, length);
  return error === Errno.EOPNOTSUPP ? zeroRange(file, false, offset, length, false) : error;
}

/** Gives space of a file back, if its file system can. @returns 0 or an errno */
export function punchHole(file: number, offset: number, length: number): number {
  return allocate(file, PUNCH_HOLE | KEEP_SIZE, offset, length);
}

/**
 * Makes a range read as zeroes.
 * @param file open for writing, without O_DIRECT
 * @param mayUnmap whether its space may be given back
 * @returns 0 or an errno
 */
export function zeroRange(file: number, isDevice: boolean, offset: number, length: number, mayUnmap: boolean): number {
  if (isDevice) return deviceRequest(file, BlockRequest.BLKZEROOUT, offset, length);
  const first = mayUnmap ? PUNCH_HOLE : ZERO_RANGE;
  const second = mayUnmap ? ZERO_RANGE : PUNCH_HOLE;
  let error = allocate(file, first | KEEP_SIZE, offset, length);
  if (error !== Errno.EOPNOTSUPP) return error;
  error = allocate(file, second | KEEP_SIZE, offset, length);
  if (error === Errno.EOPNOTSUPP) return writeZeroes(file, offset, length);
  return error !== 0 || mayUnmap ? error : allocate(file, KEEP_SIZE, offset, length);
}

function allocate(fd: number, mode: number, offset: number, length: number): number {
  for (;;) {
    if (libc.fallocate(fd, mode, offset, length) === 0) return 0;
    const error = errno();
    if (error !== Errno.EINTR) return error;
  }
}

function deviceRequest(fd: number, request: number, offset: number, length: number): number {
  range.view.setBigUint64(0, BigInt(offset), true);
  range.view.setBigUint64(8, BigInt(length), true);
  return libc.ioctl(fd, request, range.address) === 0 ? 0 : errno();
}

function writeZeroes(fd: number, offset: number, length: number): number {
  zeroes ??= mapForThread(ZEROES_BYTES);
  for (let done = 0; done < length; ) {
    const count = libc.pwrite(fd, zeroes.address, Math.min(ZEROES_BYTES, length - done), offset + done);
    if (count > 0) done += count;
    else if (count === 0) return Errno.EIO;
    else if (errno() !== Errno.EINTR) return errno();
  }
  return 0;
}
