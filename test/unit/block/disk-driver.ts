import type { Disk } from "../../../src/block/disk.ts";
import type { DiskImage, DiskImageOptions } from "../../../src/block/disk-image.ts";
import type { IoEngineKind } from "../../../src/block/load-engine.ts";
import { diskOpener } from "../../../src/block/open-disk.ts";
import { setIovec } from "../../../src/host/iovec.ts";
import type { MemoryBlock } from "../../../src/host/memory-block.ts";
import { mapAnonymous, munmap } from "../../../src/host/mmap.ts";
import { openAnyImage } from "./files.ts";

const TAGS = 4;
const SEGMENTS = 64;

/** A disk as a guest uses it, one request at a time: opened, read, written, closed. */
export class DiskDriver implements Disposable {
  readonly image: DiskImage;
  readonly disk: Disk;
  readonly #memory: MemoryBlock;
  #tag = 0;

  private constructor(image: DiskImage, disk: Disk, memory: MemoryBlock) {
    this.image = image;
    this.disk = disk;
    this.#memory = memory;
  }

  /** @param bytes the most that one request moves */
  static async open(
    path: string,
    options: Partial<DiskImageOptions> = {},
    bytes = 4 << 20,
    engine: IoEngineKind = "io_uring",
  ): Promise<DiskDriver> {
    const image = openAnyImage(path, { format: "qcow2", ...options });
    try {
      const open = await diskOpener(image.image, [engine]);
      return new DiskDriver(image, open({ queue: 0, depth: TAGS, segments: SEGMENTS }), mapAnonymous(bytes));
    } catch (error) {
      image.close();
      throw error;
    }
  }

  /** @param cut where the data is cut into segments, in bytes from its start @throws Error with the errno */
  write(offset: number, data: Uint8Array, cut: readonly number[] = []): void {
    this.#memory.u8.set(data);
    const tag = this.#nextTag();
    this.disk.write(tag, offset, data.length, this.#segments(tag, data.length, cut));
    this.#finish(`write ${data.length} at ${offset}`);
  }

  /** @throws Error with the errno */
  read(offset: number, length: number, cut: readonly number[] = []): Uint8Array {
    this.#memory.u8.fill(0x5a, 0, length);
    const tag = this.#nextTag();
    this.disk.read(tag, offset, length, this.#segments(tag, length, cut));
    this.#finish(`read ${length} at ${offset}`);
    return this.#memory.u8.slice(0, length);
  }

  zero(offset: number, length: number, mayUnmap: boolean): void {
    this.disk.writeZeroes(this.#nextTag(), offset, length, mayUnmap);
    this.#finish(`zero ${length} at ${offset}`);
  }

  discard(offset: number, length: number): void {
    this.disk.discard(this.#nextTag(), offset, length);
    this.#finish(`discard ${length} at ${offset}`);
  }

  flush(): void {
    this.disk.flush(this.#nextTag());
    this.#finish("flush");
  }

  [Symbol.dispose](): void {
    this.disk.close();
    this.image.close();
    munmap(this.#memory.address, this.#memory.size);
  }

  #nextTag(): number {
    this.#tag = (this.#tag + 1) % TAGS;
    return this.#tag;
  }

  #segments(tag: number, length: number, cut: readonly number[]): number {
    const table = this.disk.segments(tag);
    const ends = [...cut.filter((at) => at > 0 && at < length), length];
    let from = 0;
    ends.forEach((end, i) => {
      setIovec(table, i, this.#memory.address + from, end - from);
      from = end;
    });
    return ends.length;
  }

  #finish(what: string): void {
    while (!this.disk.next()) this.disk.wait(true);
    if (this.disk.error !== 0) throw new Error(`${what}: errno ${this.disk.error}`);
  }
}
