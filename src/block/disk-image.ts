import { type BigIntStats, closeSync, constants, fstatSync } from "node:fs";
import { errnoName } from "../host/errno.ts";
import { DiskImageError } from "./image-error.ts";
import { detectFormat, type ImageFormat } from "./image-format.ts";
import { lockImage } from "./image-lock.ts";
import { openImageFile } from "./open-file.ts";
import type { Qcow2Image } from "./qcow2/image.ts";
import { openQcow2 } from "./qcow2/open.ts";
import { canBeSparse, preallocate } from "./sparse.ts";
import {
  blockDeviceSize,
  blockDeviceTopology,
  type DiskTopology,
  directAlignment,
  fileTopology,
  SECTOR_BYTES,
} from "./topology.ts";
import { fixedVhdSize } from "./vhd-footer.ts";
import { vhdxCode } from "./vhdx/code.ts";
import type { VhdxImage } from "./vhdx/image.ts";

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
  /** Whether an image may be made of differences to another. */
  readonly backingFiles: boolean;
  /** Threads that will use it. */
  readonly queues: number;
}

/** A file whose bytes are those of a disk, or of whatever lies in it. */
export interface RawFile {
  /** For reading and writing; with O_DIRECT where that was asked for. */
  readonly fd: number;
  /** The same image through the host's page cache, for what O_DIRECT cannot do; `fd` itself without O_DIRECT. */
  readonly cachedFd: number;
  readonly isDevice: boolean;
  /** What addresses, offsets and lengths on `fd` must be multiples of; 1 without O_DIRECT. */
  readonly alignment: number;
  /** Whether reading beyond the file's end gives zeroes; otherwise it is an error. */
  readonly endsInZeroes: boolean;
}

/** An image file that is open, and how it is to be used. */
export interface ImageOpenOptions extends DiskImageOptions {
  readonly file: Omit<RawFile, "endsInZeroes">;
  /** Bytes of the file. */
  readonly fileSize: number;
  readonly identity: BigIntStats;
  /** Gets what the user should know. */
  readonly warnings: string[];
  /** Takes over what has to be given back when the image is closed. */
  readonly resources: DisposableStack;
}

/** An opened image whose bytes, from the first on, are those of the disk (raw, fixed VHD): plain data, so that every thread that serves the disk can be given it. */
export interface RawImage extends RawFile {
  readonly kind: "raw";
  readonly readonly: boolean;
  /** Bytes, a multiple of 512. */
  readonly size: number;
  readonly topology: DiskTopology;
  /** Whether ranges can be given back and zeroed without writing. */
  readonly canBeSparse: boolean;
  /** Whether the disk can get another size: not where something follows it in the file. */
  readonly canBeResized: boolean;
}

/** An opened image: plain data, so that every thread that serves the disk can be given it. */
export type OpenedImage = RawImage | Qcow2Image | VhdxImage;

/** Bytes of a disk's serial number. */
export const SERIAL_BYTES = 20;

/** A disk image, open and locked. For the main thread. */
export class DiskImage {
  readonly image: OpenedImage;
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
  readonly #resources: DisposableStack;

  /** `prepareImage` comes first. @throws DiskImageError saying what to do */
  constructor(options: DiskImageOptions) {
    using resources = new DisposableStack();
    const { path, readonly, direct } = options;
    const warnings: string[] = [];
    this.warnings = warnings;
    const cachedFd = resources.adopt(openImageFile(path, readonly, 0), closeSync);
    const stat = fstatSync(cachedFd, { bigint: true });
    const isDevice = stat.isBlockDevice();
    lockImage(path, cachedFd, readonly, lockLength(options, stat, sizeOf(path, cachedFd, isDevice)));
    // Whoever had it locked until now may have changed it.
    const fileSize = sizeOf(path, cachedFd, isDevice);
    this.format = checkFormat(options, detectFormat(path, cachedFd, fileSize), warnings);
    this.protectFirstSector = options.format === undefined && isByteForByte(this.format);
    if (this.format === "raw") checkSize(path, fileSize);
    const fd = direct ? resources.adopt(openImageFile(path, readonly, constants.O_DIRECT, stat), closeSync) : cachedFd;
    const alignment = direct ? (isDevice ? blockDeviceTopology(fd).logicalBlock : directAlignment(fd)) : 1;
    const file = { fd, cachedFd, isDevice, alignment };
    this.image = openFormat(this.format, {
      ...options,
      file,
      fileSize,
      identity: stat,
      warnings,
      resources,
    });
    this.defaultSerial = `${stat.dev}${stat.rdev}${stat.ino}`.slice(0, SERIAL_BYTES).padEnd(SERIAL_BYTES, "0");
    this.#resources = resources.move();
  }

  /** Brings the file up to date, closes and unlocks it. No thread may use the image any more. */
  close(): void {
    this.#resources.dispose();
  }
}

/** Formats that every program can write: their images have the disk's first bytes at the file's start. */
type ByteForByteFormat = "raw" | "vhd";
type OpenableFormat = ByteForByteFormat | "qcow2" | "vhdx";

/** What is wrong with an image of another format. */
const UNSUPPORTED: Readonly<Record<Exclude<ImageFormat, OpenableFormat>, string>> = {
  vmdk: "is a vmdk image, which is not supported yet: convert it to raw",
  "dynamic-vhd":
    "is a dynamic VHD image, only fixed ones are supported: convert it with qemu-img convert -f vpc -O raw",
  "differencing-vhd":
    "is a differencing VHD image, only fixed ones are supported: merge it with its parent and convert that to raw",
};

const isOpenable = (format: ImageFormat): format is OpenableFormat => !(format in UNSUPPORTED);

/** Formats that the first sector of a disk can be taken for, and that are not served. */
const isOtherVhd = (format: ImageFormat): boolean => format === "dynamic-vhd" || format === "differencing-vhd";

const isByteForByte = (format: ImageFormat): format is ByteForByteFormat => format === "raw" || format === "vhd";

function openFormat(format: OpenableFormat, options: ImageOpenOptions): OpenedImage {
  switch (format) {
    case "raw":
      return rawImage(options);
    case "vhd":
      return vhdImage(options);
    case "qcow2":
      return openQcow2(options);
    case "vhdx":
      return vhdxCode.for(options.path).openVhdx(options);
  }
}

function rawImage({ path, readonly, sparse, file, fileSize: size, warnings }: ImageOpenOptions): RawImage {
  const { cachedFd, isDevice } = file;
  if (!readonly && !isDevice && !sparse) {
    const error = preallocate(cachedFd, size);
    if (error !== 0) warnings.push(`cannot allocate the space of ${path} in advance: ${errnoName(error)}`);
  }
  return {
    kind: "raw",
    ...file,
    endsInZeroes: false,
    readonly,
    size,
    topology: topologyOf(file),
    canBeSparse: !readonly && (isDevice || canBeSparse(cachedFd, size)),
    canBeResized: !readonly,
  };
}

/** The footer lies behind the disk's end, where no request gets to. */
function vhdImage({ path, readonly, file, fileSize }: ImageOpenOptions): RawImage {
  return {
    kind: "raw",
    ...file,
    endsInZeroes: false,
    readonly,
    size: fixedVhdSize(path, file.cachedFd, fileSize),
    topology: topologyOf(file),
    canBeSparse: false,
    canBeResized: false,
  };
}

const topologyOf = ({ fd, isDevice, alignment }: ImageOpenOptions["file"]): DiskTopology =>
  isDevice ? blockDeviceTopology(fd) : fileTopology(Math.max(alignment, SECTOR_BYTES));

function checkFormat(
  { path, format: given }: DiskImageOptions,
  found: ImageFormat,
  warnings: string[],
): OpenableFormat {
  // Whatever a guest writes to its raw disk, only what can be opened may be taken for something else.
  if (given === "raw" && isOtherVhd(found)) return given;
  if (given !== undefined && given !== found && !isOtherVhd(found))
    throw new DiskImageError(path, `is a ${found} image, not ${given}: correct image_type`);
  if (!isOpenable(found)) throw new DiskImageError(path, UNSUPPORTED[found]);
  if (given === undefined && isByteForByte(found))
    warnings.push(
      `${path} is taken for a ${found} image since image_type is not given, which is deprecated; ` +
        `the guest cannot write its first sector: use image_type=${found}`,
    );
  return found;
}

function sizeOf(path: string, fd: number, isDevice: boolean): number {
  const size = isDevice ? blockDeviceSize(fd) : fstatSync(fd).size;
  if (size === undefined) throw new DiskImageError(path, "is a block device that does not tell its size");
  return size;
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
