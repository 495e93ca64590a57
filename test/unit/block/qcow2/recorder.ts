import type { IoEngine } from "../../../../src/block/engine.ts";
import { type ImageFile, PosixImageFile } from "../../../../src/block/qcow2/image-file.ts";
import { libc } from "../../../../src/host/libc.ts";
import { MemoryBlock } from "../../../../src/host/memory-block.ts";

/** What happened to a file. */
export type FileEvent =
  | { readonly kind: "write"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "sync" };

function bytesAt(address: number, length: number): Uint8Array {
  const lead = address % 8;
  return new MemoryBlock(address - lead, length + lead).u8.slice(lead);
}

/** A file that remembers what is written to it and when it is made durable. */
export class RecordingFile implements ImageFile {
  readonly events: FileEvent[] = [];
  readonly #file: PosixImageFile;

  constructor(fd: number) {
    this.#file = new PosixImageFile(fd);
  }

  read(offset: number, address: number, length: number): void {
    this.#file.read(offset, address, length);
  }

  write(offset: number, address: number, length: number): void {
    this.events.push({ kind: "write", offset, bytes: bytesAt(address, length) });
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

  sync(): void {
    this.events.push({ kind: "sync" });
  }

  /** Space that is given back reads as zeroes. */
  punch(offset: number, length: number): void {
    this.events.push({ kind: "write", offset, bytes: new Uint8Array(length) });
    this.#file.punch(offset, length);
  }
}

/** Does I/O on a recording file on the spot. */
export class RecordingEngine implements IoEngine {
  tag = 0;
  result = 0;
  readonly #file: RecordingFile;
  readonly #done: [number, number][] = [];

  constructor(file: RecordingFile) {
    this.#file = file;
  }

  read(fd: number, iovecs: number, count: number, _length: number, offset: number, tag: number): void {
    this.#done.push([tag, libc.preadv(fd, iovecs, count, offset)]);
  }

  write(_fd: number, iovecs: number, count: number, length: number, offset: number, tag: number): void {
    this.#file.writev(offset, new MemoryBlock(iovecs, 16 * count), count, length);
    this.#done.push([tag, length]);
  }

  sync(_fd: number, tag: number): void {
    this.#file.sync();
    this.#done.push([tag, 0]);
  }

  watch(): void {
    throw new Error("nothing to watch");
  }

  wait(): void {
    if (this.#done.length === 0) throw new Error("nothing to wait for");
  }

  next(): boolean {
    const done = this.#done.shift();
    if (done === undefined) return false;
    [this.tag, this.result] = done;
    return true;
  }

  close(): void {
    this.#done.length = 0;
  }
}
