import { readFileSync } from "node:fs";
import { join } from "node:path";
import { asset } from "../setup/cache.ts";
import { runText } from "../setup/exec.ts";

const SOURCE = join(import.meta.dir, "without-syscalls.c");
const FLAGS = ["-std=gnu17", "-O2", "-Wall", "-Wextra", "-Werror"];

/**
 * The words before a command for which the kernel denies system calls.
 * @param denied their numbers, 8 at most
 */
export async function withoutSyscalls(denied: readonly number[]): Promise<string[]> {
  if (denied.length === 0) return [];
  const recipe = { flags: FLAGS, source: readFileSync(SOURCE, "utf8") };
  const built = await asset("without-syscalls", recipe, async (dir) => {
    await runText(["gcc", ...FLAGS, "-o", join(dir, "without-syscalls"), SOURCE]);
  });
  return [join(built, "without-syscalls"), ...denied.map(String), "--"];
}
