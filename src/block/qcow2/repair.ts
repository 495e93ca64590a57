import { mapAnonymous, munmap } from "../../host/mmap.ts";
import { scratch } from "../../host/scratch.ts";
import { DiskImageError } from "../image-error.ts";
import type { ImageFile } from "../image-file.ts";
import { type Qcow2Findings, type Window, walkQcow2 } from "./check.ts";
import { ENTRY_BYTES, EntryFlag, Header, highHalf, Incompatible, lowHalf, MAX_REFCOUNT_TABLE_BYTES } from "./layout.ts";
import { RefcountWriter, type RepairableImage } from "./refcount-writer.ts";

/** How an image is to be repaired: only clusters given back that nothing uses, or all that can be. */
export type RepairKind = "leaks" | "all";

export interface RepairOptions {
  readonly kind: RepairKind;
  /** As in `WalkOptions`. */
  readonly window?: number | undefined;
  readonly onWindow?: (window: Window) => void;
}

/**
 * Makes refcounts what the tables come to, in steps for whoever has something else to do between them. What is not in order
 * stays marked as such until all of it has been written, so that a repair can be cut off at any write and done again. Where
 * entries cannot be right nothing is changed: what is lost could be what they were to refer to.
 * @returns what was found before. What is left of it a check tells
 * @throws DiskImageError when the image cannot be checked, or not be repaired here; ImageIoError
 */
export function* repairQcow2(image: RepairableImage, options: RepairOptions): Generator<void, Qcow2Findings> {
  const { kind, window, onWindow } = options;
  let isTooLow = false;
  let isLost = false;
  const found = yield* walkQcow2(image, {
    window,
    onWindow: (seen) => {
      isTooLow ||= seen.used.some((used, index) => used > (seen.stored[index] ?? 0));
      onWindow?.(seen);
    },
    onLostRefcounts: () => {
      isLost = true;
    },
  });
  // What lies where refcounts should be could be anything, and is not to be written to.
  if (found.broken > 0 || (isLost && kind === "leaks")) return found;
  if (kind === "leaks" && found.corruptions > 0) yield* lowerRefcounts(image, window);
  else if (isTooLow || isLost) {
    markDirty(image, true);
    const rebuilt = yield* rebuildRefcounts(image, window);
    // While the header refers to the old ones: with the new ones all is in order then, which version 2 could not be marked not to be.
    yield* correctFlags(rebuilt, window);
    switchRefcounts(rebuilt);
  } else if (found.leaks + found.corruptions > 0) {
    yield* lowerRefcounts(image, window);
    yield* correctFlags(image, window);
  }
  const isMended = kind === "all" || found.corruptions === 0;
  if (isMended && (isTooLow || isLost || image.header.isDirty || image.header.isCorrupt)) markDirty(image, false);
  return found;
}

/** Gives back what nothing refers to: nothing is worse at any time. */
function* lowerRefcounts(image: RepairableImage, window: number | undefined): Generator<void, void> {
  using memory = clusterMemory(image);
  const writer = new RefcountWriter(image, memory.block);
  yield* walkQcow2(image, {
    window,
    onWindow: ({ first, count, used, stored }) => {
      for (let index = 0; index < count; index++)
        if ((stored[index] ?? 0) > (used[index] ?? 0)) writer.set(first + index, used[index] ?? 0);
    },
  });
  writer.finish();
  image.file.sync();
}

/**
 * Writes all refcounts anew behind the image's end, and makes them durable. The header does not refer to them yet, and the place of
 * the old ones will be free when it does.
 * @returns the image as it is with them
 */
function* rebuildRefcounts(image: RepairableImage, window: number | undefined): Generator<void, RepairableImage> {
  const { file, header, fileSize } = image;
  const clusterBytes = 2 ** header.clusterBits;
  const place = placeRefcounts(image);
  using memory = clusterMemory(image);
  const writer = new RefcountWriter(image, memory.block);
  writer.start(place.start);
  yield* walkQcow2(image, {
    window,
    withoutRefcounts: true,
    onWindow: ({ first, count, used }) => {
      for (let index = 0; index < count; index++) writer.append(first + index, used[index] ?? 0);
    },
  });
  for (let cluster = place.start; cluster < place.end; cluster++) writer.append(cluster, 1);
  writer.finish();
  writeRefcountTable(file, memory.block, place, clusterBytes);
  file.sync();
  const refcountTableOffset = place.table * clusterBytes;
  return {
    ...image,
    header: { ...header, refcountTableOffset, refcountTableClusters: place.end - place.table },
    fileSize: Math.max(fileSize, place.end * clusterBytes),
  };
}

/** Has the header in the file refer to an image's refcounts, in one write. */
function switchRefcounts({ file, header }: RepairableImage): void {
  const { view, address } = scratch();
  view.setUint32(0, highHalf(header.refcountTableOffset));
  view.setUint32(4, lowHalf(header.refcountTableOffset));
  view.setUint32(8, header.refcountTableClusters);
  file.write(Header.REFCOUNT_TABLE_OFFSET, address, 12);
  file.sync();
}

/** Clusters of new refcounts: blocks from `start` on, their table from `table` on, nothing from `end` on. */
interface Place {
  readonly start: number;
  readonly table: number;
  readonly end: number;
}

/** Where refcounts for all clusters have room, those of their own included. */
function placeRefcounts({ path, header, fileSize }: RepairableImage): Place {
  const clusterBytes = 2 ** header.clusterBits;
  const perBlock = (clusterBytes * 8) / 2 ** header.refcountOrder;
  const start = Math.ceil(fileSize / clusterBytes);
  let blocks = 0;
  let tableClusters = 0;
  for (let end = start; blocks * perBlock < end; end = start + blocks + tableClusters) {
    blocks = Math.ceil(end / perBlock);
    tableClusters = Math.ceil((blocks * ENTRY_BYTES) / clusterBytes);
  }
  if (tableClusters * clusterBytes > MAX_REFCOUNT_TABLE_BYTES)
    throw new DiskImageError(path, "needs more refcounts than are possible: convert it with larger clusters");
  return { start, table: start + blocks, end: start + blocks + tableClusters };
}

function writeRefcountTable(
  file: ImageFile,
  block: ReturnType<typeof mapAnonymous>,
  place: Place,
  clusterBytes: number,
) {
  const perCluster = clusterBytes / ENTRY_BYTES;
  for (let cluster = place.table; cluster < place.end; cluster++) {
    block.u8.fill(0, 0, clusterBytes);
    const first = place.start + (cluster - place.table) * perCluster;
    for (let i = 0; i < perCluster && first + i < place.table; i++) {
      const offset = (first + i) * clusterBytes;
      block.view.setUint32(i * ENTRY_BYTES, highHalf(offset));
      block.view.setUint32(i * ENTRY_BYTES + 4, lowHalf(offset));
    }
    file.write(cluster * clusterBytes, block.address, clusterBytes);
  }
}

/** Has entries say rightly whether what they refer to is used once. */
function* correctFlags(image: RepairableImage, window: number | undefined): Generator<void, void> {
  const { file } = image;
  using memory = clusterMemory(image);
  const { view, address } = memory.block;
  yield* walkQcow2(image, {
    window,
    onWrongFlag: (offset, isUsedOnce) => {
      file.read(offset, address, 4);
      const high = view.getUint32(0);
      view.setUint32(0, isUsedOnce ? high | EntryFlag.COPIED : high & ~EntryFlag.COPIED);
      file.write(offset, address, 4);
    },
  });
  file.sync();
}

/** Says that the image's refcounts are not to be believed, or that all of it is in order. Version 2 has no place for that. */
function markDirty({ file, header }: RepairableImage, isDirty: boolean): void {
  if (header.version === 2) return;
  const memory = mapAnonymous(8);
  try {
    file.sync();
    const at = Header.INCOMPATIBLE + 4;
    file.read(at, memory.address, 4);
    const flags = memory.view.getUint32(0);
    const dirty = 1 << Incompatible.DIRTY;
    memory.view.setUint32(0, isDirty ? flags | dirty : flags & ~(dirty | (1 << Incompatible.CORRUPT)));
    file.write(at, memory.address, 4);
    file.sync();
  } finally {
    munmap(memory.address, memory.size);
  }
}

/** Memory for one cluster. */
function clusterMemory({ header }: RepairableImage) {
  const block = mapAnonymous(2 ** header.clusterBits);
  return { block, [Symbol.dispose]: () => munmap(block.address, block.size) };
}
