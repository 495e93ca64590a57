import { readSync } from "node:fs";
import type { BootMemory } from "../../../../../src/machine/x86_64/loader/boot-memory.ts";

/** Guest RAM from address 0 up, as loaders see it. Writes outside it fail the test. */
export class TestRam implements BootMemory {
  readonly bytes: Uint8Array;
  written = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  contains(gpa: number, length: number): boolean {
    return gpa >= 0 && length >= 0 && gpa < this.bytes.length && length <= this.bytes.length - gpa;
  }

  write(gpa: number, bytes: Uint8Array): void {
    this.#claim(gpa, bytes.length).set(bytes);
  }

  readFile(fd: number, fileOffset: number, gpa: number, length: number): void {
    const target = this.#claim(gpa, length);
    if (readSync(fd, target, 0, length, fileOffset) !== length) throw new Error("the file ended early");
  }

  text(gpa: number, length: number): string {
    return Buffer.from(this.bytes.subarray(gpa, gpa + length)).toString("latin1");
  }

  #claim(gpa: number, length: number): Uint8Array {
    if (!this.contains(gpa, length)) throw new Error(`unchecked access to 0x${gpa.toString(16)} (+${length})`);
    this.written += length;
    return this.bytes.subarray(gpa, gpa + length);
  }
}
