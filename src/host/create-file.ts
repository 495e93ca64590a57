import { Errno, errnoName, SysError } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import { cString } from "./scratch.ts";

/** O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY (asm-generic/fcntl.h). */
const CREATE = 0o2005501;
/** O_RDWR | O_CLOEXEC | O_NONBLOCK. */
const BOTH_ENDS = 0o2004002;
/** Bytes of a path with its NUL (linux/limits.h). */
const PATH_MAX = 4096;
/** Read and write for all, less the umask. */
const MODE = 0o666;
const SEEK_CUR = 1;

const ADVICE = new Map<number, string>([
  [Errno.ENOENT, "its folder does not exist"],
  [Errno.ENOTDIR, "a part of the path is not a folder"],
  [Errno.EISDIR, "it is a folder: give the path of a file"],
  [Errno.EACCES, "this user may not write there"],
  [Errno.EPERM, "this user may not write there"],
  [Errno.EROFS, "its file system is read-only"],
  [Errno.ENOSPC, "its file system is full"],
  [Errno.ENXIO, "it is a socket, or a FIFO that nobody reads"],
]);

/** A file for output that cannot be had. The message says why; the cause is the SysError. */
export class CreateFileError extends Error {
  override readonly name = "CreateFileError";
}

/**
 * Creates or truncates a file for output. A FIFO is opened for reading as well, so that nothing waits for a reader, the reader
 * finds what was written before it came, and another one may follow it.
 * @returns the descriptor, non-blocking where that means something
 * @throws CreateFileError
 */
export function createFile(path: string): number {
  if (path === "") throw new CreateFileError("the path is empty");
  const length = Buffer.byteLength(path);
  if (length >= PATH_MAX) throw new CreateFileError(`a path of ${length} bytes is too long: shorten it`);
  const fd = libc.open(cString(path), CREATE, MODE);
  const error = fd < 0 ? errno() : 0;
  const fifo = error === Errno.ENXIO || isPipe(fd) ? libc.open(cString(path), BOTH_ENDS, 0) : -1;
  if (fifo >= 0 && fd >= 0) libc.close(fd);
  if (fifo >= 0) return fifo;
  if (fd >= 0) return fd;
  throw new CreateFileError(`cannot write to '${path}': ${ADVICE.get(error) ?? errnoName(error)}`, {
    cause: new SysError(error, `create ${path}`),
  });
}

/** Whether a descriptor is that of a FIFO or a pipe: what cannot seek and is no terminal. */
function isPipe(fd: number): boolean {
  return fd >= 0 && libc.lseek(fd, 0, SEEK_CUR) < 0 && errno() === Errno.ESPIPE && libc.isatty(fd) === 0;
}
