import type { IoEngine } from "../../../src/block/engine.ts";
import { type ImageFile, PosixImageFile } from "../../../src/block/image-file.ts";
import { libc } from "../../../src/host/libc.ts";
import { MemoryBlock } from "../../../src/host/memory-block.ts";

/** What happened to a file, by the number that it has among those that are recorded together. */
export type FileEvent = { readonly file: number } & (
  | { readonly kind: "write"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "extend"; readonly size: number }
  | { readonly kind: "sync" }
);

function bytesAt(address: number, length: number): Uint8Array {
  const lead = address % 8;
  return new MemoryBlock(address - lead, length + lead).u8.slice(lead);
}

/** A file that remembers what is written to it and when it is made durable. */
export class RecordingFile implements ImageFile {
  readonly events: FileEvent[];
  readonly #number: number;
  readonly #file: PosixImageFile;

  /** @param other what is recorded together with it */
  constructor(fd: number, other?: RecordingFile) {
    this.events = other?.events ?? [];
    this.#number = other === undefined ? 0 : 1;
    this.#file = new PosixImageFile(fd);
  }

  read(offset: number, address: number, length: number): void {
    this.#file.read(offset, address, length);
  }

  write(offset: number, address: number, length: number): void {
    this.events.push({ file: this.#number, kind: "write", offset, bytes: bytesAt(address, length) });
    this.#file.write(offset, address, length);
  }

  writev(offset: number, vectors: MemoryBlock, count: number, _length: number): void {
    let at = offset;
    for (let i = 0; i < count; i++) {
      const address = vectors.view.getUint32(16 * i, true) + vectors.view.getUint32(16 * i + 4, true) * 0x1_0000_0000;
      const length = vectors.view.getUint32(16 * i + 8, true);
      this.write(at, address, length);
      at += length;
    }
  }

  extend(size: number): void {
    this.events.push({ file: this.#number, kind: "extend", size });
    this.#file.extend(size);
  }

  sync(): void {
    this.events.push({ file: this.#number, kind: "sync" });
  }

  zero(offset: number, length: number, mayUnmap: boolean): void {
    this.events.push({ file: this.#number, kind: "write", offset, bytes: new Uint8Array(length) });
    this.#file.zero(offset, length, mayUnmap);
  }

  /** Space that is given back reads as zeroes. */
  punch(offset: number, length: number): void {
    this.events.push({ file: this.#number, kind: "write", offset, bytes: new Uint8Array(length) });
    this.#file.punch(offset, length);
  }
}

/** Does I/O on a recording file: on the spot, or in any order when somebody asks for completions. */
export class RecordingEngine implements IoEngine {
  tag = 0;
  result = 0;
  readonly #file: RecordingFile;
  readonly #pick: ((count: number) => number) | undefined;
  readonly #waiting: (() => [tag: number, result: number])[] = [];
  readonly #done: [number, number][] = [];

  /** @param pick chooses one of so many requests that wait, to be carried out next; without it none waits */
  constructor(file: RecordingFile, pick?: (count: number) => number) {
    this.#file = file;
    this.#pick = pick;
  }

  read(fd: number, iovecs: number, count: number, _buffer: number, _length: number, offset: number, tag: number): void {
    this.#take(() => [tag, libc.preadv(fd, iovecs, count, offset)]);
  }

  write(
    _fd: number,
    iovecs: number,
    count: number,
    _buffer: number,
    length: number,
    offset: number,
    tag: number,
  ): void {
    this.#take(() => {
      this.#file.writev(offset, new MemoryBlock(iovecs, 16 * count), count, length);
      return [tag, length];
    });
  }

  sync(_fd: number, tag: number): void {
    this.#take(() => {
      this.#file.sync();
      return [tag, 0];
    });
  }

  watch(): void {
    throw new Error("nothing to watch");
  }

  wait(): void {
    if (this.#done.length + this.#waiting.length === 0) throw new Error("nothing to wait for");
  }

  next(): boolean {
    const [next] = this.#waiting.splice(this.#pick?.(this.#waiting.length) ?? 0, 1);
    const done = next === undefined ? this.#done.shift() : next();
    if (done === undefined) return false;
    [this.tag, this.result] = done;
    return true;
  }

  close(): void {
    this.#done.length = 0;
  }

  #take(request: () => [number, number]): void {
    if (this.#pick === undefined) this.#done.push(request());
    else this.#waiting.push(request);
  }
}
