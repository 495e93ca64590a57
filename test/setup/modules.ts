import { existsSync } from "node:fs";
import { copyFile, mkdir, symlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { run, SetupError } from "./exec.ts";

/** The name the kernel knows a module file by. */
function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.\w+)?$/, "")
    .replaceAll("-", "_");
}

/** File of each module and the files it depends on, all relative to the modules' folder, from `modules.dep`. */
function parseDependencies(text: string): Map<string, { file: string; needs: string[] }> {
  const modules = new Map<string, { file: string; needs: string[] }>();
  for (const line of text.split("\n")) {
    const [file, needs] = line.split(":");
    if (file === undefined || needs === undefined) continue;
    modules.set(moduleName(file), { file, needs: needs.split(" ").filter((name) => name !== "") });
  }
  return modules;
}

async function copyUncompressed(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  if (from.endsWith(".xz")) await Bun.write(to, await run(["xz", "-dc", from]));
  else if (from.endsWith(".zst")) await Bun.write(to, await run(["zstd", "-dc", from]));
  else await copyFile(from, to);
}

/**
 * Copies the named modules and what they depend on, uncompressed, from an unpacked kernel package to `root/lib/modules/<release>`,
 * with the index files `modprobe` reads. Names of modules that are built into this kernel are fine.
 * @throws SetupError for a name that this kernel knows neither as a module nor as built in.
 */
export async function stageModules(
  unpacked: string,
  release: string,
  names: readonly string[],
  root: string,
): Promise<void> {
  if (!existsSync(join(unpacked, "lib/modules"))) {
    await mkdir(join(unpacked, "lib"), { recursive: true });
    await symlink("../usr/lib/modules", join(unpacked, "lib/modules"));
  }
  const source = join(unpacked, "lib/modules", release);
  await run(["depmod", "-b", unpacked, release]);
  const modules = parseDependencies(await Bun.file(join(source, "modules.dep")).text());
  const builtIn = new Set((await Bun.file(join(source, "modules.builtin")).text()).split("\n").map(moduleName));
  const files = new Set<string>();
  for (const name of names) {
    const module = modules.get(name);
    if (module !== undefined) for (const file of [module.file, ...module.needs]) files.add(file);
    else if (!builtIn.has(name)) throw new SetupError(`kernel ${release} has no module ${name}`);
  }
  const target = join(root, "lib/modules", release);
  for (const file of files) {
    await copyUncompressed(join(source, file), join(target, file.replace(/\.ko\.\w+$/, ".ko")));
  }
  for (const index of ["modules.builtin", "modules.order"]) await copyFile(join(source, index), join(target, index));
  await run(["depmod", "-b", root, release]);
}
