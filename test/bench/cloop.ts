import { readFileSync } from "node:fs";
import { join } from "node:path";
import { buildPayload, compilerPath, PayloadBuildError } from "../payload/build.ts";
import { type PayloadOutcome, PayloadProcess } from "../payload/process.ts";
import { asset } from "../setup/cache.ts";

const source = join(import.meta.dir, "cloop.c");
const flags = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror"];

async function buildCLoop(): Promise<string> {
  const recipe = { flags, source: readFileSync(source, "utf8") };
  const folder = await asset("cloop", recipe, async (dir) => {
    const compile = Bun.spawn([compilerPath(), ...flags, "-o", join(dir, "cloop"), source], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    const words = await new Response(compile.stderr).text();
    if ((await compile.exited) !== 0) {
      throw new PayloadBuildError(`gcc could not build the C loop:\n${words}`);
    }
  });
  return join(folder, "cloop");
}

/** Runs a payload that needs nothing but port I/O on the C loop: the floor under what an exit can cost. */
export async function runOnCLoop(name: string, cmdline: string, timeoutMs = 60_000): Promise<PayloadOutcome> {
  return new PayloadProcess([await buildCLoop(), await buildPayload(name), cmdline], timeoutMs).outcome();
}
