import { describe, expect, test } from "bun:test";
import { eachRun } from "../../../../../src/devices/virtio/balloon/page-runs.ts";
import { Random } from "../../../random.ts";

function runs(...pages: number[]): [first: number, count: number][] {
  const found: [number, number][] = [];
  eachRun(Uint32Array.from(pages), (first, count) => found.push([first, count]));
  return found;
}

describe("runs of pages", () => {
  test.each([
    [[], []],
    [[7], [[7, 1]]],
    [[1, 2, 3], [[1, 3]]],
    [[3, 2, 1], [[1, 3]]],
    [
      [5, 1, 6, 2, 9],
      [
        [1, 2],
        [5, 2],
        [9, 1],
      ],
    ],
    [[4, 4, 4, 5, 5], [[4, 2]]],
    [
      [0, 0xffff_ffff, 0],
      [
        [0, 1],
        [0xffff_ffff, 1],
      ],
    ],
    [[0xffff_fffe, 0xffff_ffff], [[0xffff_fffe, 2]]],
  ] as const)("%p gives %p", (pages, expected) => {
    expect(runs(...pages)).toEqual(expected.map(([first, count]) => [first, count]));
  });

  test("cover exactly the pages given, whatever their order, and are apart", () => {
    const random = new Random(42);
    for (let round = 0; round < 200; round++) {
      const pages = Array.from({ length: random.below(64) }, () => random.below(96));
      const found = runs(...pages);
      const covered = found.flatMap(([first, count]) => Array.from({ length: count }, (_, i) => first + i));
      expect(covered).toEqual([...new Set(pages)].toSorted((a, b) => a - b));
      for (const [i, [first]] of found.entries()) {
        const before = found[i - 1];
        if (before !== undefined) expect(first).toBeGreaterThan(before[0] + before[1]);
      }
    }
  });
});
