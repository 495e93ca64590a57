import { type ImageFile, ImageIoError, PosixImageFile } from "../../../src/block/image-file.ts";
import type { MemoryBlock } from "../../../src/host/memory-block.ts";

export type Operation = "read" | "write" | "writev" | "extend" | "sync" | "zero" | "punch";

/** Says what an operation of a file comes to: 0, or an errno. */
export type Fault = (operation: Operation, offset: number, length: number) => number;

/** A file that fails when it is told to, and counts what is done to it. */
export class FaultyFile implements ImageFile {
  fault: Fault | undefined;
  readonly counts: Record<Operation, number> = { read: 0, write: 0, writev: 0, extend: 0, sync: 0, zero: 0, punch: 0 };
  readonly #file: PosixImageFile;

  constructor(fd: number) {
    this.#file = new PosixImageFile(fd);
  }

  /** Has these operations fail from now on. */
  fail(errno: number, ...operations: readonly Operation[]): void {
    this.fault = (operation) => (operations.includes(operation) ? errno : 0);
  }

  /** Has the first operation fail that is chosen, and nothing else. */
  failOnce(errno: number, isChosen: (operation: Operation, offset: number, length: number) => boolean): void {
    this.fault = (operation, offset, length) => {
      if (!isChosen(operation, offset, length)) return 0;
      this.fault = undefined;
      return errno;
    };
  }

  read(offset: number, address: number, length: number): void {
    this.#begin("read", offset, length);
    this.#file.read(offset, address, length);
  }

  write(offset: number, address: number, length: number): void {
    this.#begin("write", offset, length);
    this.#file.write(offset, address, length);
  }

  /** What fails has been written in part. */
  writev(offset: number, vectors: MemoryBlock, count: number, length: number): void {
    this.#file.writev(offset, vectors, count, length);
    this.#begin("writev", offset, length);
  }

  extend(size: number): void {
    this.#begin("extend", size, 0);
    this.#file.extend(size);
  }

  sync(): void {
    this.#begin("sync", 0, 0);
    this.#file.sync();
  }

  zero(offset: number, length: number, mayUnmap: boolean): void {
    this.#begin("zero", offset, length);
    this.#file.zero(offset, length, mayUnmap);
  }

  punch(offset: number, length: number): void {
    this.#begin("punch", offset, length);
    this.#file.punch(offset, length);
  }

  #begin(operation: Operation, offset: number, length: number): void {
    this.counts[operation]++;
    const errno = this.fault?.(operation, offset, length) ?? 0;
    if (errno !== 0) throw new ImageIoError(operation, errno);
  }
}
