import { libc } from "../host/libc.ts";
import { cString, scratch } from "../host/scratch.ts";
import { struct, u32 } from "../host/struct.ts";
import { BlockRequest } from "./linux-abi.ts";

/** How a disk likes to be accessed, in bytes. */
export interface DiskTopology {
  /** The smallest access. */
  readonly logicalBlock: number;
  /** The smallest access that needs no read-modify-write inside the disk. */
  readonly physicalBlock: number;
  readonly minimumIo: number;
  /** 0 when the disk has no preference. */
  readonly optimalIo: number;
}

export const SECTOR_BYTES = 512;

/** linux/stat.h: the part of struct statx that describes direct I/O. */
const STATX_DIOALIGN = 0x2000;
const STATX_MASK_OFFSET = 0;
const STATX_DIO_OFFSET = 0x98;
const AT_EMPTY_PATH = 0x1000;
const dioAlign = struct("dio alignment", { dio_mem_align: u32, dio_offset_align: u32 });

function ioctl32(fd: number, request: number, otherwise: number): number {
  const { view, address } = scratch();
  view.setUint32(0, 0, true);
  if (libc.ioctl(fd, request, address) < 0) return otherwise;
  const value = view.getUint32(0, true);
  return value === 0 ? otherwise : value;
}

/** Bytes of a block device, or undefined when `fd` is none. */
export function blockDeviceSize(fd: number): number | undefined {
  const { view, address } = scratch();
  if (libc.ioctl(fd, BlockRequest.BLKGETSIZE64, address) < 0) return undefined;
  return Number(view.getBigUint64(0, true));
}

/** What a block device says of itself. */
export function blockDeviceTopology(fd: number): DiskTopology {
  const logicalBlock = ioctl32(fd, BlockRequest.BLKSSZGET, SECTOR_BYTES);
  return {
    logicalBlock,
    physicalBlock: ioctl32(fd, BlockRequest.BLKPBSZGET, logicalBlock),
    minimumIo: ioctl32(fd, BlockRequest.BLKIOMIN, logicalBlock),
    optimalIo: ioctl32(fd, BlockRequest.BLKIOOPT, 0),
  };
}

/** Of a file: `block` is what direct I/O needs, or the size of a sector. */
export function fileTopology(block: number): DiskTopology {
  return { logicalBlock: block, physicalBlock: block, minimumIo: block, optimalIo: 0 };
}

/**
 * What addresses, offsets and lengths of direct I/O must be multiples of: as the file system says, or a sector where it
 * does not say.
 */
export function directAlignment(fd: number): number {
  cString("");
  const block = scratch();
  const buffer = 256;
  if (libc.statx(fd, block.address, AT_EMPTY_PATH, STATX_DIOALIGN, block.address + buffer) < 0) return SECTOR_BYTES;
  if ((block.view.getUint32(buffer + STATX_MASK_OFFSET, true) & STATX_DIOALIGN) === 0) return SECTOR_BYTES;
  const { dio_mem_align, dio_offset_align } = dioAlign.at(block, buffer + STATX_DIO_OFFSET);
  const alignment = Math.max(dio_mem_align, dio_offset_align);
  return alignment === 0 ? SECTOR_BYTES : alignment;
}
