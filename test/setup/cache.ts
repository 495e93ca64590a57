import { existsSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";

const KEEP_UNUSED_MS = 14 * 24 * 3600 * 1000;

/** The folder of everything that is built once for the tests of this project. */
export function cacheRoot(): string {
  const { XDG_CACHE_HOME, HOME } = process.env;
  return join(XDG_CACHE_HOME || join(HOME || homedir(), ".cache"), "cloud-hypervisor-ts");
}

/** A new, empty, uniquely named folder below the cache. The caller removes it. */
export async function scratchDir(purpose: string): Promise<string> {
  const parent = join(cacheRoot(), "tmp");
  await mkdir(parent, { recursive: true });
  return mkdtemp(join(parent, `${purpose}-`));
}

/**
 * The folder of an asset, built now if this recipe was never built here.
 *
 * The folder's name carries a hash of the recipe (any JSON value: package versions, file contents, ...), so a changed recipe makes
 * a new asset and never touches one that a running test uses. The folder appears complete or not at all.
 */
export async function asset(name: string, recipe: unknown, build: (dir: string) => Promise<void>): Promise<string> {
  const hash = new Bun.CryptoHasher("sha256").update(JSON.stringify(recipe)).digest("hex").slice(0, 16);
  const assets = join(cacheRoot(), "assets");
  const path = join(assets, `${name}-${hash}`);
  if (existsSync(path)) {
    const now = new Date();
    await utimes(path, now, now);
    return path;
  }
  console.error(`setup: building ${name}`);
  await mkdir(assets, { recursive: true });
  const dir = await scratchDir(name);
  try {
    await build(dir);
    await rename(dir, path).catch((error: unknown) => {
      // Another run finished the same asset first: its folder is as good as ours.
      if (!existsSync(path)) throw error;
    });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
  await dropUnused(assets, name);
  return path;
}

async function dropUnused(assets: string, name: string): Promise<void> {
  for (const entry of await readdir(assets)) {
    if (!entry.startsWith(`${name}-`) || entry.length !== name.length + 17) continue;
    const path = join(assets, entry);
    if (Date.now() - (await stat(path)).mtimeMs > KEEP_UNUSED_MS) await rm(path, { recursive: true, force: true });
  }
}
