import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildPayload } from "../payload/build.ts";
import { type PayloadOutcome, PayloadProcess } from "../payload/process.ts";
import { asset } from "../setup/cache.ts";
import { runText } from "../setup/exec.ts";

const source = join(import.meta.dir, "cloop.c");
const flags = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror"];

async function buildCLoop(): Promise<string> {
  const recipe = { flags, source: readFileSync(source, "utf8") };
  const folder = await asset("cloop", recipe, async (dir) => {
    await runText(["gcc", ...flags, "-o", join(dir, "cloop"), source]);
  });
  return join(folder, "cloop");
}

/** Runs a payload that needs nothing but port I/O on the C loop: the floor under what an exit can cost. */
export async function runOnCLoop(name: string, cmdline: string, timeoutMs = 60_000): Promise<PayloadOutcome> {
  return new PayloadProcess([await buildCLoop(), await buildPayload(name), cmdline], timeoutMs).outcome();
}
