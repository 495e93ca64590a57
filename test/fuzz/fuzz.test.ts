import { beforeAll, describe, test } from "bun:test";
import { availableParallelism } from "node:os";
import { type FuzzResult, fuzz } from "./engine/fuzz.ts";
import { targetNames } from "./engine/registry.ts";

const { CH_FUZZ_RUNS } = process.env;
const RUNS = Number(CH_FUZZ_RUNS ?? 10_000);
const WISH = { runs: RUNS, seed: 1, seconds: Number.MAX_SAFE_INTEGER, input: undefined, grow: false };

/** Every target, as many at a time as there are processors: tests run one after the other. */
class Pool {
  readonly #waiting = [...targetNames()];
  readonly #results = new Map(targetNames().map((name) => [name, Promise.withResolvers<FuzzResult>()]));

  start(): void {
    for (let i = 0; i < availableParallelism(); i++) void this.#work();
  }

  result(name: string): Promise<FuzzResult> | undefined {
    return this.#results.get(name)?.promise;
  }

  async #work(): Promise<void> {
    for (let name = this.#waiting.shift(); name !== undefined; name = this.#waiting.shift())
      await fuzz(name, WISH).then(this.#results.get(name)?.resolve, this.#results.get(name)?.reject);
  }
}

describe(`nothing is found in ${RUNS} runs`, () => {
  const pool = new Pool();
  beforeAll(() => pool.start());

  test.each(targetNames().map((name) => [name]))(
    "of %s",
    async (name) => {
      const result = await pool.result(name);
      console.log(result?.text);
      if (result?.clean !== true) throw new Error(result?.text);
    },
    60_000 + RUNS * 30,
  );
});
