import { type BigIntStats, closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import { check, libc } from "../host/libc.ts";
import { DiskImageError } from "./image-error.ts";

const F_SETFL = 4;

/**
 * Opens a file or block device of an image, without waiting: a FIFO would wait for its other end.
 * @param flags O_DIRECT or 0
 * @param sameAs what must still be there under that path
 * @throws DiskImageError
 */
export function openImageFile(path: string, readonly: boolean, flags: number, sameAs?: BigIntStats): number {
  let fd: number;
  try {
    checkKind(path, statSync(path, { bigint: true }));
    fd = openSync(path, (readonly ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK | flags);
  } catch (cause) {
    if (cause instanceof DiskImageError) throw cause;
    throw new DiskImageError(path, `cannot be opened${advice(cause, readonly, flags)}`, { cause });
  }
  try {
    const stat = fstatSync(fd, { bigint: true });
    checkKind(path, stat);
    if (sameAs !== undefined && (stat.dev !== sameAs.dev || stat.ino !== sameAs.ino))
      throw new DiskImageError(path, "was replaced while it was being opened: start again");
    // io_uring takes O_NONBLOCK of a file as "fail rather than wait for the disk".
    check(libc.fcntl(fd, F_SETFL, flags), `clear O_NONBLOCK of ${path}`);
    return fd;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function checkKind(path: string, stat: BigIntStats): void {
  if (stat.isFile() || stat.isBlockDevice()) return;
  const kind = stat.isDirectory()
    ? "a directory"
    : stat.isFIFO()
      ? "a FIFO"
      : stat.isSocket()
        ? "a socket"
        : "a character device";
  throw new DiskImageError(path, `is ${kind}: give a file or a block device`);
}

function advice(cause: unknown, readonly: boolean, flags: number): string {
  switch (cause instanceof Error && "code" in cause ? cause.code : undefined) {
    case "ENOENT":
      return ": there is no such file, check path";
    case "EACCES":
    case "EPERM":
      return readonly
        ? ": this user may not read it"
        : ": this user may not read and write it (readonly=on needs only to read)";
    case "EROFS":
      return ": it lies on a read-only file system, use readonly=on";
    case "EINVAL":
      return flags === 0 ? "" : ": its file system has no direct I/O, use direct=off";
    default:
      return "";
  }
}
