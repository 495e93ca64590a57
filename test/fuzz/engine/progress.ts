import { closeSync, ftruncateSync, openSync } from "node:fs";

const STATE = 0;
const RUNS = 1;
const LENGTH = 2;
const HEADER_BYTES = 16;

/**
 * What a fuzzing process is at, in a file that it shares with its monitor: there even when the process hangs or dies without a
 * word.
 */
export class Progress {
  readonly #words: Uint32Array;
  readonly #bytes: Uint8Array;

  /** @param maxBytes of an input */
  constructor(path: string, maxBytes: number) {
    const fd = openSync(path, "a");
    ftruncateSync(fd, HEADER_BYTES + maxBytes);
    closeSync(fd);
    this.#bytes = Bun.mmap(path, { shared: true });
    this.#words = new Uint32Array(this.#bytes.buffer, this.#bytes.byteOffset, HEADER_BYTES / 4);
  }

  /** Runs that were begun. */
  get runs(): number {
    return this.#words[RUNS] ?? 0;
  }

  /** Whether one is under way. */
  get isRunning(): boolean {
    return this.#words[STATE] === 1;
  }

  /** The input of the last run. */
  get input(): Uint8Array {
    return this.#bytes.slice(HEADER_BYTES, HEADER_BYTES + (this.#words[LENGTH] ?? 0));
  }

  begin(input: Uint8Array): void {
    this.#bytes.set(input, HEADER_BYTES);
    this.#words[LENGTH] = input.length;
    this.#words[RUNS] = this.runs + 1;
    this.#words[STATE] = 1;
  }

  end(): void {
    this.#words[STATE] = 0;
  }
}
