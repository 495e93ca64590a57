import { expect, test } from "bun:test";
import { fullMatrix, pairwiseMatrix } from "../../lab/pairwise.ts";

const DIMENSIONS = { kernel: ["6.1", "6.12"], vcpus: [1, 2, 4], memory: [256, 1024, 5120], console: ["hvc0", "ttyS0"] };

test("the full matrix has every combination once", () => {
  const rows = fullMatrix<{ kernel: string; vcpus: number; memory: number; console: string }>(DIMENSIONS);
  expect(rows.length).toBe(36);
  expect(new Set(rows.map((row) => JSON.stringify(row))).size).toBe(36);
});

test("in the pairwise matrix every two values meet, in far fewer rows", () => {
  const rows = pairwiseMatrix<{ kernel: string; vcpus: number; memory: number; console: string }>(DIMENSIONS);
  for (const vcpus of DIMENSIONS.vcpus) {
    for (const memory of DIMENSIONS.memory) {
      expect(rows.some((row) => row.vcpus === vcpus && row.memory === memory)).toBe(true);
    }
    for (const kernel of DIMENSIONS.kernel) {
      expect(rows.some((row) => row.vcpus === vcpus && row.kernel === kernel)).toBe(true);
    }
  }
  for (const kernel of DIMENSIONS.kernel) {
    for (const console of DIMENSIONS.console) {
      expect(rows.some((row) => row.kernel === kernel && row.console === console)).toBe(true);
    }
  }
  expect(rows.length).toBeLessThan(13);
});
