import { closeSync, constants, fstatSync, openSync, type Stats } from "node:fs";
import { check, libc } from "../../host/libc.ts";
import { MapFlag, mmap, Prot } from "../../host/mmap.ts";
import { type Hva, hva } from "../../memory/address.ts";

/** open(2), linux/fcntl.h: __O_TMPFILE, which node does not name, with O_DIRECTORY. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
const SEEK_END = 2;

/** A file that the guest is to see as memory and cannot. */
export class GuestFileError extends Error {
  override readonly name = "GuestFileError";
}

/** A file to be seen as memory, as its option names it. */
export interface GuestFileRequest {
  /** The option, for messages. */
  readonly option: string;
  readonly path: string;
  /** Bytes; all of the file when undefined. */
  readonly size: number | undefined;
  /** Keep what the guest writes out of the file, which is opened read-only. */
  readonly discardWrites: boolean;
  /** Take a directory as the place for an unnamed file of `size` bytes. */
  readonly temporary: boolean;
}

/** A file open for mapping: bytes from its start. */
export interface GuestFile {
  readonly fd: number;
  readonly size: number;
}

/**
 * Opens a regular file or block device, or makes an unnamed file.
 * @throws GuestFileError saying what to do
 */
export function openGuestFile(request: GuestFileRequest): GuestFile {
  const { path, option, discardWrites } = request;
  if (path === "") throw new GuestFileError(`the path of ${option} is empty: give it a file`);
  const flags = (discardWrites ? constants.O_RDONLY : constants.O_RDWR) | constants.O_NONBLOCK | constants.O_NOCTTY;
  let fd: number;
  try {
    fd = openSync(path, flags);
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? cause.code : undefined;
    if (code === "EISDIR") return temporaryFile(request);
    throw new GuestFileError(`cannot open ${path} for ${option}: ${advice(code, discardWrites)}`, { cause });
  }
  try {
    const stat = fstatSync(fd);
    if (!stat.isDirectory()) return { fd, size: sizeOf(fd, stat, request) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  closeSync(fd);
  return temporaryFile(request);
}

/** Maps a file for the guest. @throws SysError */
export function mapGuestFile({ fd, size }: GuestFile, discardWrites: boolean): Hva {
  const flags = (discardWrites ? MapFlag.PRIVATE : MapFlag.SHARED) | MapFlag.NORESERVE;
  return hva(mmap({ size, prot: Prot.READ | Prot.WRITE, flags, fd }));
}

function sizeOf(fd: number, stat: Stats, { path, option, size }: GuestFileRequest): number {
  if (!stat.isFile() && !stat.isBlockDevice())
    throw new GuestFileError(
      `${path} is ${stat.isFIFO() ? "a FIFO" : "neither a file nor a block device"}: give ${option} one`,
    );
  const length = check(libc.lseek(fd, 0, SEEK_END), `find the size of ${path}`);
  // Memory beyond the end of a file cannot be had: whoever touches it is killed.
  if (size !== undefined && size > length)
    throw new GuestFileError(
      `${path} has ${length} bytes, less than the size of ${size} that ${option} asks for: ` +
        `give a smaller size, or make it longer with 'truncate -s ${size}'`,
    );
  return size ?? length;
}

function temporaryFile({ path, option, size, temporary }: GuestFileRequest): GuestFile {
  if (!temporary) throw new GuestFileError(`${path} is a directory: give ${option} a file`);
  if (size === undefined)
    throw new GuestFileError(`${path} is a directory: give ${option} a size for a temporary file in it, or a file`);
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | O_TMPFILE, 0o600);
  } catch (cause) {
    throw new GuestFileError(`cannot make a temporary file in ${path}: give ${option} another directory`, { cause });
  }
  try {
    check(libc.ftruncate(fd, size), `make a temporary file of ${size} bytes in ${path}`);
  } catch (cause) {
    closeSync(fd);
    throw new GuestFileError(
      `cannot make a temporary file of ${size} bytes in ${path}: give ${option} a smaller size`,
      {
        cause,
      },
    );
  }
  return { fd, size };
}

function advice(code: unknown, discardWrites: boolean): string {
  if (code === "ENOENT" || code === "ENOTDIR") return "there is no such file";
  if ((code === "EACCES" || code === "EPERM" || code === "EROFS") && !discardWrites)
    return "it may not be written: make it writable, or keep what the guest writes out of it with discard_writes=on";
  if (code === "EACCES" || code === "EPERM") return "make it readable for the user that runs the VMM";
  if (code === "ENXIO") return "it is a socket or a device that is not there, not a file";
  return "check the path";
}
