import { type BigIntStats, closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import { errnoName } from "../host/errno.ts";
import { check, libc } from "../host/libc.ts";
import { DiskImageError } from "./image-error.ts";
import { detectFormat, type ImageFormat } from "./image-format.ts";
import { lockImage } from "./image-lock.ts";
import { canBeSparse, preallocate } from "./sparse.ts";
import {
  blockDeviceSize,
  blockDeviceTopology,
  type DiskTopology,
  directAlignment,
  fileTopology,
  SECTOR_BYTES,
} from "./topology.ts";

/** How an image is to be opened. */
export interface DiskImageOptions {
  readonly path: string;
  readonly readonly: boolean;
  /** Bypass the host's page cache (O_DIRECT). */
  readonly direct: boolean;
  /** Undefined: found out from the contents. */
  readonly format: ImageFormat | undefined;
  /** Whether the guest may make holes; otherwise a file gets all its space now. */
  readonly sparse: boolean;
  readonly lock: "byte-range" | "full";
}

/** An opened raw image: plain data, so that every thread that serves the disk can be given it. */
export interface RawImage {
  readonly kind: "raw";
  /** For reading and writing; with O_DIRECT where that was asked for. */
  readonly fd: number;
  /** The same image through the host's page cache, for what O_DIRECT cannot do; `fd` itself without O_DIRECT. */
  readonly cachedFd: number;
  readonly isDevice: boolean;
  readonly readonly: boolean;
  /** Bytes, a multiple of 512. */
  readonly size: number;
  /** What addresses, offsets and lengths on `fd` must be multiples of; 1 without O_DIRECT. */
  readonly alignment: number;
  readonly topology: DiskTopology;
  /** Whether ranges can be given back and zeroed without writing. */
  readonly canBeSparse: boolean;
}

const F_SETFL = 4;

/** Bytes of a disk's serial number. */
export const SERIAL_BYTES = 20;

/** A disk image, open and locked. For the main thread. */
export class DiskImage {
  readonly image: RawImage;
  /** What the contents are. */
  readonly format: ImageFormat;
  /**
   * Whether writes to the first sector must be refused, since what the guest puts there would decide how the image is
   * taken the next time its format is detected.
   */
  readonly protectFirstSector: boolean;
  /** A serial number made of the file's identity, `SERIAL_BYTES` ASCII digits. */
  readonly defaultSerial: string;
  /** What the user should know, though it is no error. */
  readonly warnings: readonly string[];

  /** @throws DiskImageError saying what to do */
  constructor(options: DiskImageOptions) {
    const { path, readonly, direct } = options;
    const warnings: string[] = [];
    this.warnings = warnings;
    const opened: number[] = [];
    try {
      const cachedFd = openImage(path, readonly, 0);
      opened.push(cachedFd);
      const stat = fstatSync(cachedFd, { bigint: true });
      const isDevice = stat.isBlockDevice();
      const size = isDevice ? blockDeviceSize(cachedFd) : Number(stat.size);
      if (size === undefined) throw new DiskImageError(path, "is a block device that does not tell its size");
      this.format = checkFormat(options, detectFormat(path, cachedFd, size), warnings);
      this.protectFirstSector = options.format === undefined;
      checkSize(path, size);
      lockImage(path, cachedFd, readonly, lockLength(options, stat, size));
      let fd = cachedFd;
      if (direct) {
        fd = openImage(path, readonly, constants.O_DIRECT, stat);
        opened.push(fd);
      }
      const alignment = direct ? (isDevice ? blockDeviceTopology(fd).logicalBlock : directAlignment(fd)) : 1;
      if (!readonly && !isDevice && !options.sparse) {
        const error = preallocate(cachedFd, size);
        if (error !== 0) warnings.push(`cannot allocate the space of ${path} in advance: ${errnoName(error)}`);
      }
      this.image = {
        kind: "raw",
        fd,
        cachedFd,
        isDevice,
        readonly,
        size,
        alignment,
        topology: isDevice ? blockDeviceTopology(fd) : fileTopology(Math.max(alignment, SECTOR_BYTES)),
        canBeSparse: !readonly && (isDevice || canBeSparse(cachedFd, size)),
      };
      this.defaultSerial = `${stat.dev}${stat.rdev}${stat.ino}`.slice(0, SERIAL_BYTES).padEnd(SERIAL_BYTES, "0");
    } catch (error) {
      for (const fd of opened) closeSync(fd);
      throw error;
    }
  }

  /** Closes and unlocks the image. No thread may use it any more. */
  close(): void {
    const { fd, cachedFd } = this.image;
    closeSync(cachedFd);
    if (fd !== cachedFd) closeSync(fd);
  }
}

/** Opens without waiting: a FIFO would wait for its other end. */
function openImage(path: string, readonly: boolean, flags: number, sameAs?: BigIntStats): number {
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

function checkFormat({ path, format: given }: DiskImageOptions, found: ImageFormat, warnings: string[]): ImageFormat {
  if (given !== undefined && given !== found)
    throw new DiskImageError(path, `is a ${found} image, not ${given}: correct image_type`);
  if (found !== "raw")
    throw new DiskImageError(path, `is a ${found} image, which is not supported yet: convert it to raw`);
  if (given === undefined)
    warnings.push(
      `${path} is taken for a raw image since image_type is not given, which is deprecated; ` +
        "the guest cannot write its first sector: use image_type=raw",
    );
  return found;
}

function checkSize(path: string, size: number): void {
  if (size % SECTOR_BYTES === 0) return;
  const whole = Math.ceil(size / SECTOR_BYTES) * SECTOR_BYTES;
  throw new DiskImageError(
    path,
    `has ${size} bytes, no multiple of ${SECTOR_BYTES}: it may be cut short, or is to be extended with truncate -s ${whole}`,
  );
}

/** Bytes to lock; 0 locks whatever the file will ever hold. */
function lockLength({ lock }: DiskImageOptions, stat: BigIntStats, size: number): number {
  return lock === "full" ? 0 : Math.max(size, Number(stat.blocks) * SECTOR_BYTES);
}
