import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { FuzzTarget } from "./target.ts";

const FOLDER = join(import.meta.dir, "../targets");
/** Targets with mistakes, for tests of the engine. */
const SELFTEST = "selftest/";

/** The names of all targets, sorted. */
export const targetNames = (): readonly string[] =>
  readdirSync(FOLDER)
    .filter((file) => file.endsWith(".ts"))
    .map((file) => file.slice(0, -3))
    .sort();

/** Loads a target, and with it what it drives. @throws Error when there is none of the name */
export async function loadTarget(name: string): Promise<FuzzTarget> {
  const isSelftest = name.startsWith(SELFTEST);
  if (!isSelftest && !targetNames().includes(name))
    throw new Error(`no target ${name}: there are ${targetNames().join(", ")}`);
  const path = isSelftest ? join(FOLDER, "..", name) : join(FOLDER, name);
  const { target }: { readonly target: FuzzTarget } = await import(`${path}.ts`);
  return target;
}
