import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "../../random.ts";
import { Sequence } from "./sequence.ts";

/** Sequences of a run of all tests; CH_VHDX_SEQUENCES asks for more, CH_VHDX_SEED for others. */
const SEQUENCES = 16;
const SECONDS_EACH = 5;

const { CH_VHDX_SEQUENCES, CH_VHDX_SEED } = process.env;
const sequences = Number(CH_VHDX_SEQUENCES ?? SEQUENCES);
const firstSeed = Number(CH_VHDX_SEED ?? 1);

test(
  "random operations give what QEMU and a copy in memory give, and leave images without errors",
  async () => {
    for (let seed = firstSeed; seed < firstSeed + sequences; seed++) {
      const folder = mkdtempSync(join(tmpdir(), "vhdx-"));
      const sequence = new Sequence(new Random(seed), folder);
      try {
        await sequence.run(30);
      } catch (error) {
        throw new Error(`seed ${seed}: ${sequence.description}`, { cause: error });
      } finally {
        rmSync(folder, { recursive: true });
      }
    }
    expect(sequences).toBeGreaterThan(0);
  },
  sequences * SECONDS_EACH * 1000,
);
