import { openDisk } from "../../../../src/block/open-disk.ts";
import { type Qcow2Image, type Qcow2View, viewOf } from "../../../../src/block/qcow2/image.ts";
import { Qcow2Disk } from "../../../../src/block/qcow2/qcow2-disk.ts";
import { Word } from "../../../../src/block/qcow2/shared.ts";
import { SyncEngine } from "../../../../src/block/sync-engine.ts";
import { setIovec } from "../../../../src/host/iovec.ts";
import { mapAnonymous, munmap } from "../../../../src/host/mmap.ts";
import { FaultyFile } from "../faulty-file.ts";
import { openAnyImage } from "../files.ts";

const SEGMENTS = 64;
const MOST_BYTES = 4 << 20;

/** A disk on a qcow2 image whose files can be made to fail. What requests come to is an errno, or 0. */
export class FaultyDisk implements Disposable {
  readonly image: Qcow2Image;
  readonly file: FaultyFile;
  /** That of the data; `file` itself unless there is an external one. */
  readonly data: FaultyFile;
  readonly #opened;
  readonly #view: Qcow2View;
  readonly #disk: Qcow2Disk;
  readonly #memory = mapAnonymous(MOST_BYTES);

  constructor(path: string) {
    this.#opened = openAnyImage(path, { format: "qcow2", backingFiles: true });
    this.image = this.#opened.image as Qcow2Image;
    const fd = this.image.data?.cachedFd;
    this.file = new FaultyFile(this.image.cachedFd);
    this.data = fd === undefined ? this.file : new FaultyFile(fd);
    const plain = { fd: fd ?? this.image.fd, cachedFd: fd ?? this.image.fd, alignment: 1 };
    const raw = openDisk(
      { ...plain, isDevice: false, endsInZeroes: true },
      (tags) => new SyncEngine(tags),
      4,
      SEGMENTS,
    );
    this.#view = viewOf(this.image, this.file, this.data);
    this.#disk = new Qcow2Disk(this.image, this.#view, this.data, raw, 0);
  }

  /** Nothing is written to the image any more. */
  get isGivenUp(): boolean {
    return this.#view.shared.words[Word.BROKEN] !== 0;
  }

  write(offset: number, data: Uint8Array): number {
    this.#memory.u8.set(data);
    setIovec(this.#disk.segments(0), 0, this.#memory.address, data.length);
    this.#disk.write(0, offset, data.length, 1);
    return this.#finish();
  }

  fill(offset: number, length: number, value: number): number {
    return this.write(offset, new Uint8Array(length).fill(value));
  }

  /** @param segments that it is cut into, of one size */
  read(offset: number, length: number, segments = 1): number {
    const part = length / segments;
    for (let i = 0; i < segments; i++) setIovec(this.#disk.segments(0), i, this.#memory.address + i * part, part);
    this.#disk.read(0, offset, length, segments);
    return this.#finish();
  }

  /** What the last read has read. */
  contents(length: number): Uint8Array {
    return this.#memory.u8.slice(0, length);
  }

  flush(): number {
    this.#disk.flush(0);
    return this.#finish();
  }

  discard(offset: number, length: number): number {
    this.#disk.discard(0, offset, length);
    return this.#finish();
  }

  zero(offset: number, length: number, mayUnmap: boolean): number {
    this.#disk.writeZeroes(0, offset, length, mayUnmap);
    return this.#finish();
  }

  [Symbol.dispose](): void {
    this.#disk.close();
    this.#opened.close();
    munmap(this.#memory.address, this.#memory.size);
  }

  #finish(): number {
    while (!this.#disk.next()) this.#disk.wait(true);
    return this.#disk.error;
  }
}
