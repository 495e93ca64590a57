/**
 * Requests that are done and were not taken yet, first in first out. A tag is among them at most once, so there is always room.
 */
export class Completions {
  /** The tag of the request that `take` took. */
  tag = 0;
  /** Its result. */
  result = 0;
  count = 0;
  readonly #tags: Uint32Array;
  readonly #results: Int32Array;
  #head = 0;

  /** @param tags how many tags there are */
  constructor(tags: number) {
    this.#tags = new Uint32Array(tags);
    this.#results = new Int32Array(tags);
  }

  add(tag: number, result: number): void {
    const at = (this.#head + this.count++) % this.#tags.length;
    this.#tags[at] = tag;
    this.#results[at] = result;
  }

  /** Takes the first into `tag` and `result`. @returns whether there was one */
  take(): boolean {
    if (this.count === 0) return false;
    this.tag = this.#tags[this.#head] ?? 0;
    this.result = this.#results[this.#head] ?? 0;
    this.#head = (this.#head + 1) % this.#tags.length;
    this.count--;
    return true;
  }
}
