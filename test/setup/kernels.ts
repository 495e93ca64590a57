import { copyFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { extractVmlinux } from "./bzimage.ts";
import { asset, cacheRoot } from "./cache.ts";
import { type ArchivePackage, newestPackage, unpackPackage } from "./debian.ts";
import { SetupError } from "./exec.ts";
import { stageModules } from "./modules.ts";

/** A stock Debian kernel, ready to boot. */
export interface Kernel {
  /** What `uname -r` says, e.g. `6.1.0-47-cloud-amd64`. */
  readonly release: string;
  readonly bzImage: string;
  /** The ELF inside the bzImage. */
  readonly vmlinux: string;
  /** A folder with `lib/modules/<release>`: the wanted modules, what they need, and modprobe's index. */
  readonly modulesRoot: string;
}

/** The kernel flavours tests use: prefix and pattern of Debian's package names. */
const FLAVOURS = {
  "6.1": { prefix: "linux-image-6.1.", pattern: /^linux-image-6\.1\.[\d.]+-\d+-cloud-amd64$/ },
  "6.12": { prefix: "linux-image-6.12.", pattern: /^linux-image-6\.12\.[\d.]+\+deb\d+-cloud-amd64$/ },
  host: { prefix: "linux-image-6.12.", pattern: /^linux-image-6\.12\.[\d.]+\+deb\d+-amd64$/ },
} as const;

export type KernelFlavour = keyof typeof FLAVOURS;

const ASK_APT_AGAIN_MS = 24 * 3600 * 1000;

/** The newest package of a flavour; apt is asked once a day at most (it takes a second, and minutes in the emulated host). */
async function currentPackage(flavour: KernelFlavour): Promise<ArchivePackage> {
  const memory = Bun.file(join(cacheRoot(), `newest-${flavour}.json`));
  if ((await memory.exists()) && Date.now() - memory.lastModified < ASK_APT_AGAIN_MS) {
    const known: unknown = await memory.json();
    if (isArchivePackage(known)) return known;
  }
  const { prefix, pattern } = FLAVOURS[flavour];
  const newest = await newestPackage(prefix, pattern);
  await Bun.write(memory, JSON.stringify(newest));
  return newest;
}

function isArchivePackage(value: unknown): value is ArchivePackage {
  return (
    typeof value === "object" &&
    value !== null &&
    "name" in value &&
    "version" in value &&
    typeof value.name === "string" &&
    typeof value.version === "string"
  );
}

/**
 * Fetches a recent Debian kernel of a flavour (the newest, as of today) and stages the named modules.
 * Built once per package version and list of modules.
 */
export async function debianKernel(flavour: KernelFlavour, modules: readonly string[]): Promise<Kernel> {
  const pkg = await currentPackage(flavour);
  const source = await Promise.all(
    ["kernels.ts", "modules.ts", "bzimage.ts"].map((name) => Bun.file(join(import.meta.dir, name)).text()),
  );
  const dir = await asset(`kernel-${flavour}`, { pkg, modules, source }, async (out) => {
    const unpacked = join(out, "unpacked");
    await unpackPackage(pkg, unpacked);
    const image = (await readdir(join(unpacked, "boot"))).find((name) => name.startsWith("vmlinuz-"));
    if (image === undefined) throw new SetupError(`${pkg.name} holds no kernel`);
    const release = image.slice("vmlinuz-".length);
    await copyFile(join(unpacked, "boot", image), join(out, "bzImage"));
    await Bun.write(join(out, "vmlinux"), await extractVmlinux(await Bun.file(join(out, "bzImage")).bytes()));
    await stageModules(unpacked, release, modules, join(out, "root"));
    await Bun.write(join(out, "release"), `${release}\n`);
    await rm(unpacked, { recursive: true });
  });
  return {
    release: (await Bun.file(join(dir, "release")).text()).trim(),
    bzImage: join(dir, "bzImage"),
    vmlinux: join(dir, "vmlinux"),
    modulesRoot: join(dir, "root"),
  };
}
