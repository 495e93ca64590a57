import { fstatSync } from "node:fs";
import { scratch } from "../../host/scratch.ts";
import { imageFileOf } from "../direct-image-file.ts";
import type { Qcow2Image } from "./image.ts";
import { dataFileOf, metadataOf } from "./image.ts";
import { ENTRY_BYTES, Header, highHalf, lowHalf, MAX_VIRTUAL_BYTES } from "./layout.ts";
import { Word } from "./shared.ts";

/** A size that an image cannot be given. */
export class GrowError extends Error {
  override readonly name = "GrowError";
}

/**
 * Makes the disk of an open image larger; what it gains reads as zeroes. No request may be under way.
 * @param bytes a multiple of 512
 * @throws GrowError, ImageIoError; then the disk has its old size
 */
export function growQcow2(image: Qcow2Image, bytes: number): void {
  const file = imageFileOf(image);
  const data = dataFileOf(image, file);
  const { shared, metadata } = metadataOf(image, file, data);
  const { words, l1, lock } = shared;
  lock.acquire();
  try {
    if (words[Word.BROKEN] !== 0) throw new GrowError("nothing is written to the image any more");
    if (bytes === words[Word.SIZE]) return;
    if (bytes < (words[Word.SIZE] ?? 0)) throw new GrowError("a qcow2 image can only be made larger");
    if (bytes > MAX_VIRTUAL_BYTES) throw new GrowError(`at most ${MAX_VIRTUAL_BYTES} bytes are possible`);
    if (image.backing !== undefined)
      throw new GrowError("an image with a backing file keeps its size: stop the VM and use qemu-img resize");
    const { clusterBytes } = metadata;
    const entries = Math.max(words[Word.L1_ENTRIES] ?? 0, Math.ceil(bytes / (clusterBytes * metadata.l2Entries)));
    if (entries * ENTRY_BYTES > l1.size)
      throw new GrowError("the image cannot grow that far while it is in use: stop the VM and use qemu-img resize");
    metadata.writeBack();
    const old = { offset: words[Word.L1_OFFSET] ?? 0, entries: words[Word.L1_ENTRIES] ?? 0 };
    let { offset } = old;
    if (entries > old.entries) {
      const clusters = Math.ceil((entries * ENTRY_BYTES) / clusterBytes);
      offset = metadata.refcounts.append(clusters) * clusterBytes;
      file.write(offset, l1.address, entries * ENTRY_BYTES);
      metadata.writeBack();
    }
    if (image.data !== undefined && image.header.dataFile?.isRaw === true) {
      const from = words[Word.SIZE] ?? 0;
      data.zero(from, bytes - from, true);
      if (fstatSync(image.data.cachedFd).size < bytes) data.extend(bytes);
      metadata.sync(data);
    }
    // One write, inside one sector: the size and the table that covers it change together.
    const { view, address } = scratch();
    const put = (at: number, value: number): void => {
      view.setUint32(at, highHalf(value));
      view.setUint32(at + 4, lowHalf(value));
    };
    put(0, bytes);
    view.setUint32(Header.CRYPT_METHOD - Header.SIZE, 0);
    view.setUint32(Header.L1_SIZE - Header.SIZE, entries);
    put(Header.L1_OFFSET - Header.SIZE, offset);
    try {
      file.write(Header.SIZE, address, Header.REFCOUNT_TABLE_OFFSET - Header.SIZE);
      file.sync();
    } catch (error) {
      // Which of both tables the header refers to nobody knows.
      words[Word.BROKEN] = 1;
      throw error;
    }
    words[Word.SIZE] = bytes;
    words[Word.L1_ENTRIES] = entries;
    words[Word.L1_OFFSET] = offset;
    if (offset !== old.offset) {
      const oldClusters = Math.ceil((old.entries * ENTRY_BYTES) / clusterBytes);
      for (let i = 0; i < oldClusters; i++) metadata.refcounts.release(old.offset / clusterBytes + i);
    }
  } finally {
    lock.release();
  }
}
