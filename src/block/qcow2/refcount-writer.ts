import type { MemoryBlock } from "../../host/memory-block.ts";
import { DiskImageError } from "../image-error.ts";
import type { ImageFile } from "../image-file.ts";
import type { CheckedImage } from "./check.ts";
import { ENTRY_BYTES, entryOffset, highHalf, lowHalf } from "./layout.ts";

/** An image that is open for writing and that nobody else writes to. */
export interface RepairableImage extends CheckedImage {
  readonly file: ImageFile;
}

/** Writes refcounts of clusters in their order, a block at a time: those of an image, or new ones. */
export class RefcountWriter {
  readonly #image: RepairableImage;
  readonly #memory: MemoryBlock;
  readonly #clusterBytes: number;
  readonly #perBlock: number;
  /** The block in memory, -1 for none, and where it belongs in the file. */
  #block = -1;
  #offset = 0;
  /** Where new blocks lie: the first cluster of them; undefined to change those that there are. */
  #start: number | undefined;

  /** @param memory of one cluster, for the block that is being written */
  constructor(image: RepairableImage, memory: MemoryBlock) {
    this.#image = image;
    this.#memory = memory;
    this.#clusterBytes = 2 ** image.header.clusterBits;
    this.#perBlock = (this.#clusterBytes * 8) / 2 ** image.header.refcountOrder;
  }

  /** From here on refcounts are new, in blocks from a cluster on. */
  start(cluster: number): void {
    this.#start = cluster;
  }

  /** Sets the refcount of a cluster whose block there is. @throws ImageIoError */
  set(cluster: number, count: number): void {
    const block = Math.floor(cluster / this.#perBlock);
    if (block !== this.#block) {
      this.finish();
      this.#offset = this.#find(block);
      this.#image.file.read(this.#offset, this.#memory.address, this.#clusterBytes);
      this.#block = block;
    }
    this.#put(cluster % this.#perBlock, count);
  }

  /** Sets the refcount of the next cluster. @throws ImageIoError, DiskImageError when it is more than fits */
  append(cluster: number, count: number): void {
    const block = Math.floor(cluster / this.#perBlock);
    if (block !== this.#block) {
      this.finish();
      this.#memory.u8.fill(0, 0, this.#clusterBytes);
      this.#offset = ((this.#start ?? 0) + block) * this.#clusterBytes;
      this.#block = block;
    }
    if (count === 0) return;
    const { path, header } = this.#image;
    if (count >= 2 ** (2 ** header.refcountOrder))
      throw new DiskImageError(
        path,
        `uses cluster ${cluster} ${count} times, more than its refcounts of ${2 ** header.refcountOrder} bits can say: convert it`,
      );
    this.#put(cluster % this.#perBlock, count);
  }

  /** Writes what is still in memory. @throws ImageIoError */
  finish(): void {
    if (this.#block >= 0) this.#image.file.write(this.#offset, this.#memory.address, this.#clusterBytes);
    this.#block = -1;
  }

  /** The offset of a block that there is. */
  #find(block: number): number {
    const { file, header } = this.#image;
    const { view, address } = this.#memory;
    file.read(header.refcountTableOffset + block * ENTRY_BYTES, address, ENTRY_BYTES);
    return entryOffset(view.getUint32(0), view.getUint32(4));
  }

  #put(index: number, count: number): void {
    const { view } = this.#memory;
    const { refcountOrder } = this.#image.header;
    switch (refcountOrder) {
      case 6:
        view.setUint32(index * 8, highHalf(count));
        view.setUint32(index * 8 + 4, lowHalf(count));
        break;
      case 5:
        view.setUint32(index * 4, count);
        break;
      case 4:
        view.setUint16(index * 2, count);
        break;
      default: {
        // The first of a byte is in its low bits (refcount blocks).
        const bits = 1 << refcountOrder;
        const shift = (index * bits) & 7;
        const at = (index * bits) >>> 3;
        view.setUint8(at, (view.getUint8(at) & ~((2 ** bits - 1) << shift)) | (count << shift));
      }
    }
  }
}
