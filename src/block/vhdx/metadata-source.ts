import { readSync } from "node:fs";
import { DiskImageError } from "../image-error.ts";
import type { LogUpdate } from "./log-reader.ts";

/** Reads metadata of a file as it is after its log was replayed, though nothing is written. */
export class MetadataSource {
  readonly #path: string;
  readonly #fd: number;
  readonly #updates: readonly LogUpdate[];

  /** @param updates of the log, the oldest first */
  constructor(path: string, fd: number, updates: readonly LogUpdate[] = []) {
    this.#path = path;
    this.#fd = fd;
    this.#updates = updates;
  }

  /** Reads all of a range; beyond the file's end it reads as zeroes. @throws DiskImageError */
  read(offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length);
    try {
      for (let done = 0; done < length; ) {
        const count = readSync(this.#fd, bytes, done, length - done, offset + done);
        if (count === 0) break;
        done += count;
      }
    } catch (cause) {
      throw new DiskImageError(this.#path, "cannot be read", { cause });
    }
    for (const update of this.#updates) {
      const from = Math.max(offset, update.offset);
      const to = Math.min(offset + length, update.offset + update.length);
      if (from >= to) continue;
      if (update.data === undefined) bytes.fill(0, from - offset, to - offset);
      else update.data.copy(bytes, from - offset, from - update.offset, to - update.offset);
    }
    return bytes;
  }
}
