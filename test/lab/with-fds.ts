import { join } from "node:path";
import { asset } from "../setup/cache.ts";
import { run } from "../setup/exec.ts";

/** Builds with-fds.c, once, and returns the program's path. */
export async function withFdsProgram(): Promise<string> {
  const source = join(import.meta.dir, "with-fds.c");
  const dir = await asset("with-fds", { source: await Bun.file(source).text() }, async (out) => {
    await run(["gcc", "-O1", "-static", "-Wall", "-Werror", "-o", join(out, "with-fds"), source]);
  });
  return join(dir, "with-fds");
}
