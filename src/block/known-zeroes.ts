import { Errno } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import type { OpenedImage } from "./disk-image.ts";
import { ImageIoError } from "./image-file.ts";
import { type BackingImage, type Qcow2Parts, viewOf as viewOfQcow2 } from "./qcow2/image.ts";
import { Mapping } from "./qcow2/metadata.ts";
import { type VhdxImage, viewOf as viewOfVhdx } from "./vhdx/image.ts";

/** lseek(2), linux/fs.h. */
const SEEK_END = 2;
const SEEK_DATA = 3;
/** Bytes whose blocks are looked at in one go. */
const VHDX_LOOK_BYTES = 2 ** 30;

/**
 * Tells how many bytes of a disk from an offset inside of it on read as zeroes, without reading them; there may be more behind them.
 * 0 where that is not known.
 */
export type KnownZeroes = (offset: number) => number;

/** What is known of an image that nobody writes to. Its code has been loaded (`diskOpener`). */
export function knownZeroesOf(image: OpenedImage): KnownZeroes {
  switch (image.kind) {
    case "raw":
      return holesOf(image.cachedFd, image.size);
    case "qcow2":
      return qcow2Zeroes(image);
    case "vhdx":
      return vhdxZeroes(image);
  }
}

/** The holes of a file that holds a disk of `size` bytes. */
export function holesOf(fd: number, size: number): KnownZeroes {
  return (offset) => {
    const hole = holeAt(fd, offset);
    // A file that has become too short has no zeroes there: reading it is an error.
    if (hole === Number.POSITIVE_INFINITY) return libc.lseek(fd, 0, SEEK_END) < size ? 0 : size - offset;
    return hole;
  };
}

/** What is known where one and the other are the same. */
export const zeroesOfBoth =
  (one: KnownZeroes, other: KnownZeroes): KnownZeroes =>
  (offset) =>
    Math.min(one(offset), other(offset));

/** Bytes of a file from an offset on that are a hole; without end where no data follows. */
function holeAt(fd: number, offset: number): number {
  const data = libc.lseek(fd, offset, SEEK_DATA);
  if (data >= 0) return data - offset;
  return errno() === Errno.ENXIO ? Number.POSITIVE_INFINITY : 0;
}

function qcow2Zeroes(parts: Qcow2Parts): KnownZeroes {
  const { shared, metadata } = viewOfQcow2(parts);
  const { cachedFd } = parts.data ?? parts;
  const { size } = parts.header;
  const below = parts.backing === undefined ? undefined : zeroesBelow(parts.backing);
  const inside: KnownZeroes = (offset) => {
    metadata.lookup(offset, size - offset);
    switch (metadata.kind) {
      case Mapping.ZERO:
        return metadata.length;
      case Mapping.UNALLOCATED:
        return below === undefined ? metadata.length : Math.min(metadata.length, below(offset));
      case Mapping.DATA:
        return Math.min(metadata.length, holeAt(cachedFd, metadata.host));
      default:
        return 0;
    }
  };
  return (offset) => underLock(shared, () => inside(offset));
}

/** Behind its end, what lies below an image reads as zeroes. */
function zeroesBelow(backing: BackingImage): KnownZeroes {
  const size = backing.kind === "raw" ? backing.size : backing.header.size;
  const inside: KnownZeroes = backing.kind === "raw" ? (offset) => holeAt(backing.fd, offset) : qcow2Zeroes(backing);
  return (offset) => (offset >= size ? Number.POSITIVE_INFINITY : inside(offset));
}

function vhdxZeroes(image: VhdxImage): KnownZeroes {
  const { shared, metadata } = viewOfVhdx(image);
  const { table } = metadata;
  return (offset) =>
    underLock(shared, () => {
      table.lookup(offset, Math.min(image.size - offset, VHDX_LOOK_BYTES));
      return table.isData ? Math.min(table.length, holeAt(image.cachedFd, table.host)) : table.length;
    });
}

/** What cannot be looked up is not known: who reads it is told why. */
function underLock({ lock }: { readonly lock: { acquire(): void; release(): void } }, look: () => number): number {
  lock.acquire();
  try {
    return look();
  } catch (error) {
    if (error instanceof ImageIoError) return 0;
    throw error;
  } finally {
    lock.release();
  }
}
