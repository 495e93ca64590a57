import { describe, expect, test } from "bun:test";
import { Input } from "../../fuzz/engine/input.ts";
import { instrument } from "../../fuzz/engine/instrument.ts";
import { watch } from "../../fuzz/engine/monitor.ts";

const JOB = { seed: 1, runs: 40_000, seconds: 60, inputs: [], replay: false };

describe("the fuzzer finds", () => {
  test.each([
    ["throws", "RangeError: a mistake with"],
    ["hangs", "a run hangs"],
    ["overruns", "SIG"],
    ["grows", "the process has grown"],
    ["leaks", "descriptors leak"],
    ["maps", "mappings leak"],
  ])("what %s", async (name, error) => {
    const outcome = await watch({ ...JOB, target: `selftest/${name}` });
    if (outcome.kind === "done") throw new Error(`nothing was found in ${outcome.runs} runs`);
    expect(outcome.error).toContain(error);
    if (name === "throws") expect([...outcome.input]).toEqual([102, 117, 122]);
    if (name === "hangs" || name === "overruns") expect(outcome.input[0]).toBe(7);
  });

  test("nothing where there is nothing", async () => {
    const outcome = await watch({ ...JOB, runs: 1000, target: "selftest/behaves" });
    expect(outcome).toMatchObject({ kind: "done", runs: 1000 });
  });

  test("the same with the same seed", async () => {
    const find = async (seed: number) => watch({ ...JOB, seed, target: "selftest/throws" });
    const [first, second, other] = [await find(5), await find(5), await find(6)];
    if (first.kind === "done" || second.kind === "done" || other.kind === "done") throw new Error("not found");
    expect(second.run).toBe(first.run);
    expect(other.run).not.toBe(first.run);
  });
});

test("instrumented code does the same and counts", () => {
  const source = `
    export function f(n: number): string {
      const pick = (a: number) => (a > 1 ? "many" : (a as number) === 1 && "one") || "none";
      for (let i = 0; i < n; i++) if (i > 2) break; else continue;
      switch (n) { case 0: return pick(n); default: try { return pick(n) + [1].map((x) => ({ x })).length; } catch { return ""; } }
    }`;
  const code = new Bun.Transpiler({ loader: "ts" }).transformSync(instrument("f.ts", source)).replace("export ", "");
  const hits: number[] = new Array(100_000).fill(0);
  Object.assign(globalThis, { $fuzzHits: hits });
  const f: (n: number) => string = new Function(`${code}; return f;`)();
  expect([0, 1, 5].map(f)).toEqual(["none", "one1", "many1"]);
  expect(hits.filter((count) => count > 0).length).toBeGreaterThan(9);
});

test("inputs that end read as zeros", () => {
  const input = new Input(Uint8Array.of(1, 2, 3));
  expect([input.u16(), input.u32(), input.isEmpty, input.below(5), input.take(9).length]).toEqual([
    0x201,
    3,
    true,
    0,
    0,
  ]);
});
