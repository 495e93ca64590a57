import type { ImageFile } from "../image-file.ts";
import { type DeferringSource, SegmentSource } from "../segments.ts";
import type { SplitRequests } from "../split-requests.ts";
import { zeroCluster } from "./refcounts.ts";

/** The segments of the request that was begun. */
export class RequestSource implements DeferringSource {
  table: Uint32Array = new Uint32Array();
  readonly #file: ImageFile;
  readonly #requests: SplitRequests;

  constructor(file: ImageFile, requests: SplitRequests) {
    this.#file = file;
    this.#requests = requests;
  }

  write(skip: number, host: number, length: number): void {
    new SegmentSource(this.#file, this.table).write(skip, host, length);
  }

  defer(skip: number, host: number, length: number): void {
    if (!this.#requests.add(skip, host, length)) this.write(skip, host, length);
  }
}

/** Zeroes, which are written at once. */
export class ZeroSource implements DeferringSource {
  readonly #file: ImageFile;
  readonly #clusterBytes: number;

  constructor(file: ImageFile, clusterBytes: number) {
    this.#file = file;
    this.#clusterBytes = clusterBytes;
  }

  defer(skip: number, host: number, length: number): void {
    this.write(skip, host, length);
  }

  write(_skip: number, host: number, length: number): void {
    for (let done = 0; done < length; done += this.#clusterBytes)
      this.#file.write(host + done, zeroCluster(this.#clusterBytes), Math.min(this.#clusterBytes, length - done));
  }
}
