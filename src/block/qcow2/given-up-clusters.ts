import type { ImageFile } from "../image-file.ts";
import type { MetadataCache } from "./metadata-cache.ts";
import type { Refcounts } from "./refcounts.ts";
import { MAX_PENDING, type Qcow2Shared, Word } from "./shared.ts";

/** Clusters that nothing in memory refers to any more, though the file may still. To be used under the image's lock. */
export class GivenUpClusters {
  readonly #shared: Qcow2Shared;
  readonly #cache: MetadataCache;
  readonly #refcounts: Refcounts;
  readonly #file: ImageFile;
  readonly #clusterBytes: number;

  constructor(shared: Qcow2Shared, cache: MetadataCache, refcounts: Refcounts, file: ImageFile, clusterBytes: number) {
    this.#shared = shared;
    this.#cache = cache;
    this.#refcounts = refcounts;
    this.#file = file;
    this.#clusterBytes = clusterBytes;
  }

  /** Remembers to lower the refcount of a cluster once the file does not refer to it any more. Too many are lost. */
  add(cluster: number): void {
    const { words, pendingClusters, pendingGenerations } = this.#shared;
    const count = words[Word.PENDING] ?? 0;
    if (count >= MAX_PENDING) return;
    pendingClusters[count] = cluster;
    pendingGenerations[count] = words[Word.GENERATION] ?? 0;
    words[Word.PENDING] = count + 1;
  }

  /** As `add`, for what a compressed cluster lies in. */
  addExtent({ offset, length }: { readonly offset: number; readonly length: number }): void {
    const last = Math.floor((offset + length - 1) / this.#clusterBytes);
    for (let used = Math.floor(offset / this.#clusterBytes); used <= last; used++) this.add(used);
  }

  /**
   * Lowers the refcounts of clusters that nothing in the file refers to any more, after a `writeBack`, and gives their space
   * back. Those that a request may still be working on wait.
   * @param punch whether holes are to be made
   */
  reclaim(punch: boolean): void {
    const { words, pendingClusters, pendingGenerations } = this.#shared;
    const count = words[Word.PENDING] ?? 0;
    if (count === 0) return;
    const until = Math.min(this.#oldestRequest(), words[Word.GENERATION] ?? 0);
    let left = count;
    for (let i = count - 1; i >= 0; i--) {
      if ((pendingGenerations[i] ?? 0) >= until) continue;
      const cluster = pendingClusters[i] ?? 0;
      // Off the list before anything can fail: a cluster must not be lowered twice.
      left--;
      pendingClusters[i] = pendingClusters[left] ?? 0;
      pendingGenerations[i] = pendingGenerations[left] ?? 0;
      words[Word.PENDING] = left;
      if (this.#refcounts.release(cluster) > 0) continue;
      const offset = cluster * this.#clusterBytes;
      this.#cache.forget(offset, this.#clusterBytes);
      if (punch) this.#file.punch(offset, this.#clusterBytes);
    }
  }

  /** The generation of the oldest request under way on clusters of data. */
  #oldestRequest(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const request of this.#shared.requests) if (request !== 0 && request - 1 < oldest) oldest = request - 1;
    return oldest;
  }
}
