import { iovecTable, MAX_IOVECS, segmentAddress, segmentLength, setIovec } from "../host/iovec.ts";
import type { ImageFile } from "./image-file.ts";

/** A place in a request's segments that moves on with what is done. */
export class SegmentCursor {
  readonly #table: Uint32Array;
  #index = 0;
  #used = 0;

  constructor(table: Uint32Array) {
    this.#table = table;
  }

  /** @param each takes the pieces of the next `length` bytes: address, length, and what of the bytes came before */
  take(length: number, each: (address: number, length: number, done: number) => void): void {
    for (let done = 0; done < length; ) {
      const left = segmentLength(this.#table, this.#index) - this.#used;
      const part = Math.min(left, length - done);
      if (part > 0) each(segmentAddress(this.#table, this.#index) + this.#used, part, done);
      done += part;
      this.#used += part;
      if (part === left) {
        this.#index++;
        this.#used = 0;
      }
    }
  }
}

/** Where the data of a write comes from: a request's segments, or zeroes. */
export interface DataSource {
  /** Writes part of the data to the file. @param skip bytes of the request before it @throws ImageIoError */
  write(skip: number, host: number, length: number): void;
}

/** What can also leave the writing for later. */
export interface DeferringSource extends DataSource {
  /** Has part of the data be in the file when the request is over. @throws ImageIoError */
  defer(skip: number, host: number, length: number): void;
}

/** The segments of a request. */
export class SegmentSource implements DataSource {
  readonly #file: ImageFile;
  readonly #table: Uint32Array;

  /** @param table the request's struct iovec as 32-bit words */
  constructor(file: ImageFile, table: Uint32Array) {
    this.#file = file;
    this.#table = table;
  }

  write(skip: number, host: number, length: number): void {
    let index = 0;
    let ahead = skip;
    for (; ahead >= segmentLength(this.#table, index); index++) ahead -= segmentLength(this.#table, index);
    const vectors = iovecTable();
    for (let done = 0; done < length; ) {
      let count = 0;
      let bytes = 0;
      while (count < MAX_IOVECS && done + bytes < length) {
        const part = Math.min(segmentLength(this.#table, index) - ahead, length - done - bytes);
        setIovec(vectors.u32, count++, segmentAddress(this.#table, index) + ahead, part);
        bytes += part;
        ahead += part;
        if (ahead === segmentLength(this.#table, index)) {
          index++;
          ahead = 0;
        }
      }
      this.#file.writev(host + done, vectors, count, bytes);
      done += bytes;
    }
  }
}
