import { join } from "node:path";
import type { Figure } from "./figure.ts";

const checkout = join(import.meta.dir, "../..");

/** Fuzz tests of the unit part, with the variable that sets how long they run and their rounds here. */
const TESTS = [
  {
    file: "test/unit/config/json/json.test.ts",
    variable: "JSON_FUZZ_ROUNDS",
    rounds: 1_000_000,
    what: "JSON documents",
  },
  {
    file: "test/unit/api/http/request-parser.test.ts",
    variable: "HTTP_FUZZ_ROUNDS",
    rounds: 500_000,
    what: "HTTP streams",
  },
  { file: "test/unit/api/rest/router.test.ts", variable: "REST_FUZZ_ROUNDS", rounds: 500_000, what: "REST requests" },
] as const;

const TIMEOUT_MS = 600_000;

/** The fuzz tests of the API, for millions of rounds. @throws when one of them fails */
export async function fuzzFigures(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { file, variable, rounds, what } of TESTS) {
    const started = performance.now();
    const child = Bun.spawn([process.execPath, "test", `./${file}`, "-t", "random", `--timeout=${TIMEOUT_MS}`], {
      cwd: checkout,
      env: { ...process.env, [variable]: String(rounds) },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const output = await child.stderr.text();
    if ((await child.exited) !== 0) throw new Error(`${file} failed:\n${output}`);
    const rate = (rounds / (performance.now() - started)) * 1000;
    figures.push({
      what: `${rounds} random ${what}, none of which broke anything`,
      unit: "a second",
      ours: rate,
      others: {},
    });
  }
  return figures;
}
