// npm run fuzz -- TARGET... [--runs N] [--seed S] [--time SECONDS] [--input FILE] [--grow]: docs/fuzzing.md.

import { parseArgs } from "node:util";
import { type FuzzWish, fuzz } from "./engine/fuzz.ts";
import { loadTarget, targetNames } from "./engine/registry.ts";

const DEFAULT_RUNS = 1_000_000;

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}

function number(name: string, text: string | undefined, otherwise: number): number {
  const value = text === undefined ? otherwise : Number(text);
  if (!(value >= 0)) fail(`--${name} takes a number, not '${text}'`);
  return value;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: "string" },
    seed: { type: "string" },
    time: { type: "string" },
    input: { type: "string" },
    grow: { type: "boolean", default: false },
  },
});
const names = targetNames();
const unknown = positionals.find((name) => name !== "all" && !names.includes(name));
if (unknown !== undefined) fail(`no target ${unknown}; there are: ${names.join(", ")}, and all`);
if (positionals.length === 0) {
  console.log("usage: npm run fuzz -- TARGET... [--runs N] [--seed S] [--time SECONDS] [--input FILE] [--grow]\n");
  for (const name of names) console.log(`${name.padEnd(20)} ${(await loadTarget(name)).what}`);
  process.exit(0);
}
const wish: FuzzWish = {
  runs: number("runs", values.runs, DEFAULT_RUNS),
  seed: number("seed", values.seed, 1),
  seconds: number("time", values.time, Number.MAX_SAFE_INTEGER),
  input: values.input,
  grow: values.grow,
};
let clean = true;
for (const target of positionals.includes("all") ? names : positionals) {
  const result = await fuzz(target, wish);
  console.log(result.text);
  clean &&= result.clean;
}
process.exit(clean ? 0 : 1);
