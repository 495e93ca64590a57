import { readSync } from "node:fs";
import { SysError } from "../host/errno.ts";
import { setIovec } from "../host/iovec.ts";
import type { Disk } from "./disk.ts";
import type { Chunk, ChunkSink } from "./disk-scan.ts";

/** What is written or left a hole as a whole. */
const UNIT_BYTES = 64 << 10;
const ZEROES = Buffer.alloc(UNIT_BYTES);

const isZero = (unit: Uint8Array): boolean => ZEROES.compare(unit, 0, unit.length, 0, unit.length) === 0;

/** Writes chunks into a file that reads as zeroes so far, several at once, and leaves holes where they are zeroes. */
export class SparseWriter implements ChunkSink {
  held = 0;
  readonly #disk: Disk;
  /** Of each tag: the chunk, and how much of it has been written or left out. */
  readonly #chunks: (Chunk | undefined)[];
  readonly #passed: Uint32Array;
  readonly #done: number[] = [];

  /** @param disk access to the file, used for nothing else */
  constructor(disk: Disk) {
    this.#disk = disk;
    this.#chunks = new Array<undefined>(disk.tags).fill(undefined);
    this.#passed = new Uint32Array(disk.tags);
  }

  take(tag: number, chunk: Chunk): void {
    this.held++;
    this.#chunks[tag] = chunk;
    this.#passed[tag] = 0;
    this.#writeNext(tag);
  }

  wait(block: boolean): void {
    this.#disk.wait(block && this.#done.length === 0);
  }

  /** @throws SysError when something could not be written */
  next(): number {
    const disk = this.#disk;
    while (this.#done.length === 0 && disk.next()) {
      const { tag, error } = disk;
      if (error !== 0)
        throw new SysError(error, `write ${this.#chunks[tag]?.bytes.length} bytes at ${this.#chunks[tag]?.offset}`);
      this.#writeNext(tag);
    }
    const tag = this.#done.pop();
    if (tag === undefined) return -1;
    this.held--;
    return tag;
  }

  stop(): void {
    while (this.#disk.underWay > 0) if (!this.#disk.next()) this.#disk.wait(true);
  }

  /** Starts writing what comes next in a chunk and is not zeroes. */
  #writeNext(tag: number): void {
    const chunk = this.#chunks[tag];
    if (chunk === undefined) return;
    const { offset, bytes, address } = chunk;
    const start = unitEnd(bytes, this.#passed[tag] ?? 0, true);
    const end = unitEnd(bytes, start, false);
    this.#passed[tag] = end;
    if (start === end) {
      this.#done.push(tag);
      return;
    }
    setIovec(this.#disk.segments(tag), 0, address + start, end - start);
    this.#disk.write(tag, offset + start, end - start, 1);
  }
}

/** Where units that are zeroes, or that are not, end which begin at `from`. */
function unitEnd(bytes: Uint8Array, from: number, ofZeroes: boolean): number {
  for (let at = from; at < bytes.length; at += UNIT_BYTES)
    if (isZero(bytes.subarray(at, Math.min(at + UNIT_BYTES, bytes.length))) !== ofZeroes) return at;
  return bytes.length;
}

/** Whether a file has these bytes there. @throws Error of the system */
export function hasBytes(fd: number, offset: number, bytes: Uint8Array): boolean {
  const found = Buffer.alloc(bytes.length);
  for (let done = 0; done < bytes.length; ) {
    const count = readSync(fd, found, done, bytes.length - done, offset + done);
    if (count === 0) return false;
    done += count;
  }
  return found.equals(bytes);
}
