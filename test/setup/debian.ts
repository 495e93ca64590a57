import { existsSync } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { cacheRoot, scratchDir } from "./cache.ts";
import { run, runText, SetupError } from "./exec.ts";
import { updatePackageLists } from "./packages.ts";

/** A package of the archive, by exact name and version. */
export interface ArchivePackage {
  readonly name: string;
  readonly version: string;
}

async function knownNames(prefix: string): Promise<string[]> {
  return (await runText(["apt-cache", "pkgnames", prefix])).split("\n").filter((name) => name !== "");
}

function compareNumbers(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.max(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/** The numbers in a name, in order: what sorts `6.12.9` before `6.12.10`. */
function numbersIn(name: string): number[] {
  return (name.match(/\d+/g) ?? []).map(Number);
}

/** Names that match, newest first; signed packages before unsigned ones. */
export function newestFirst(names: readonly string[], pattern: RegExp): string[] {
  return names
    .filter((name) => pattern.test(name.replace(/-unsigned$/, "")))
    .sort((a, b) => {
      const unsigned = Number(a.endsWith("-unsigned")) - Number(b.endsWith("-unsigned"));
      return unsigned !== 0 ? unsigned : compareNumbers(numbersIn(b), numbersIn(a));
    });
}

async function candidateVersion(name: string): Promise<string | undefined> {
  const version = /Candidate: (\S+)/.exec(await runText(["apt-cache", "policy", name]))?.[1];
  return version === "(none)" ? undefined : version;
}

async function findNewest(prefix: string, pattern: RegExp): Promise<ArchivePackage | undefined> {
  for (const name of newestFirst(await knownNames(prefix), pattern)) {
    const version = await candidateVersion(name);
    if (version !== undefined) return { name, version };
  }
  return undefined;
}

/**
 * The newest package of the archive whose name (without `-unsigned`) matches; signed packages are preferred.
 * @throws SetupError when the archive has none.
 */
export async function newestPackage(prefix: string, pattern: RegExp): Promise<ArchivePackage> {
  const found = await findNewest(prefix, pattern);
  if (found !== undefined) return found;
  if (process.getuid?.() === 0) {
    await updatePackageLists();
    const afterUpdate = await findNewest(prefix, pattern);
    if (afterUpdate !== undefined) return afterUpdate;
  }
  throw new SetupError(`apt knows no package like ${pattern.source}; run apt-get update, or use a Debian 12 archive`);
}

/** Downloads a package (once) and returns the path of its .deb file. */
async function download(pkg: ArchivePackage): Promise<string> {
  const store = join(cacheRoot(), "deb");
  // apt writes the epoch's colon as %3a in file names.
  const path = join(store, `${pkg.name}_${pkg.version.replaceAll(":", "%3a")}.deb`);
  if (existsSync(path)) return path;
  console.error(`setup: downloading ${pkg.name} ${pkg.version}`);
  await mkdir(store, { recursive: true });
  const dir = await scratchDir("download");
  try {
    const fetch = () => run(["apt-get", "-q", "download", `${pkg.name}=${pkg.version}`], { cwd: dir });
    try {
      await fetch();
    } catch (error) {
      // The lists may be older than the archive; only root can renew them.
      if (process.getuid?.() !== 0) throw error;
      await updatePackageLists();
      await fetch();
    }
    const [file] = (await readdir(dir)).filter((name) => name.endsWith(".deb"));
    if (file === undefined) throw new SetupError(`apt-get download of ${pkg.name} left no file`);
    await rename(join(dir, file), path);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
  return path;
}

/** Unpacks a package into a folder, without installing it. */
export async function unpackPackage(pkg: ArchivePackage, dir: string): Promise<void> {
  await run(["dpkg-deb", "-x", await download(pkg), dir]);
}
