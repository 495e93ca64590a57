import { join } from "node:path";

const PROBE = join(import.meta.dir, "probe.ts");

/** Lets a thread with the list of a kind try acts, all when none are named. */
export function runProbe(kind: string, mode: string, ...acts: readonly string[]): ReturnType<typeof Bun.spawnSync> {
  return Bun.spawnSync([process.execPath, PROBE, kind, mode, ...acts], {
    // Bun writes what it has compiled of a source file to a cache, at any time and in a thread of its own, which has the filters too.
    env: { ...process.env, BUN_RUNTIME_TRANSPILER_CACHE_PATH: "0" },
  });
}
