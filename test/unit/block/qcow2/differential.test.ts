import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Random } from "../../random.ts";
import { type Feature, Sequence } from "./sequence.ts";

/** Sequences of a run of all tests; CH_QCOW2_SEQUENCES asks for more, CH_QCOW2_SEED for others, CH_QCOW2_FEATURE for images that all have some. */
const SEQUENCES = 40;
const SECONDS_EACH = 5;

const { CH_QCOW2_SEQUENCES, CH_QCOW2_SEED, CH_QCOW2_FEATURE } = process.env;
const sequences = Number(CH_QCOW2_SEQUENCES ?? SEQUENCES);
const firstSeed = Number(CH_QCOW2_SEED ?? 1);
const FEATURES: readonly Feature[] = ["extended_l2", "data_file", "data_file_raw"];
const features = FEATURES.filter((feature) => CH_QCOW2_FEATURE?.split(",").includes(feature));

test(
  "random operations give what QEMU and a copy in memory give, and leave images without errors and leaks",
  async () => {
    for (let seed = firstSeed; seed < firstSeed + sequences; seed++) {
      const folder = mkdtempSync(join(tmpdir(), "qcow2-"));
      const sequence = new Sequence(new Random(seed), folder, features);
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
