/** Where instrumented modules find the counters. */
export const HITS_NAME = "$fuzzHits";

const MOST_HITS = 0x1_0000;
const hits = new Uint8Array(MOST_HITS);
Object.assign(globalThis, { [HITS_NAME]: hits });
let used = 0;

/** The number of a new counter. */
export const newHit = (): number => (used < MOST_HITS - 1 ? used++ : MOST_HITS - 1);

/** How often a place was passed, roughly: 1, 2, 3, 4, 8, 16, 32, 128 times and more, a bit each. */
const BUCKETS = Uint8Array.from({ length: 256 }, (_, count) =>
  count < 4 ? (1 << count) >> 1 : 1 << Math.min(7, 3 + [8, 16, 32, 128].filter((limit) => count >= limit).length),
);

/** Which places of the program the inputs have reached so far, and how often in one run. */
export class Coverage {
  readonly #seen = new Uint8Array(MOST_HITS);
  /** Places reached at least once. */
  places = 0;

  /** Before a run. */
  begin(): void {
    hits.fill(0, 0, used);
  }

  /** After it: whether it did anything that no run did before. */
  isNews(): boolean {
    const seen = this.#seen;
    const words = new Uint32Array(hits.buffer, 0, Math.ceil(used / 4));
    let news = false;
    for (let word = 0; word < words.length; word++) {
      if (words[word] === 0) continue;
      for (let place = 4 * word; place < 4 * word + 4; place++) {
        const bucket = BUCKETS[hits[place] ?? 0] ?? 0;
        const before = seen[place] ?? 0;
        if ((bucket & ~before) === 0) continue;
        if (before === 0) this.places++;
        seen[place] = before | bucket;
        news = true;
      }
    }
    return news;
  }
}
