import { existsSync } from "node:fs";
import { findTool, run, SetupError } from "./exec.ts";

/**
 * Debian packages that tests may need. `probe` is what the package brings: a program (looked up in PATH and sbin) or an
 * absolute path; when it is there, apt is not asked at all.
 */
const PACKAGES = {
  "acpica-tools": "iasl",
  binutils: "objdump",
  "busybox-static": "busybox",
  cpio: "cpio",
  dosfstools: "mkfs.vfat",
  "dnsmasq-base": "dnsmasq",
  e2fsprogs: "mke2fs",
  ethtool: "ethtool",
  fdisk: "sfdisk",
  fio: "fio",
  fish: "fish",
  gcc: "gcc",
  iperf3: "iperf3",
  iproute2: "ip",
  "libc6-dev": "/usr/include/stdio.h",
  kmod: "depmod",
  "libtss2-tcti-device0": "/usr/lib/x86_64-linux-gnu/libtss2-tcti-device.so.0",
  lz4: "lz4",
  mandoc: "mandoc",
  mtools: "mcopy",
  passt: "passt",
  "qemu-system-x86": "qemu-system-x86_64",
  "qemu-utils": "qemu-img",
  socat: "socat",
  strace: "strace",
  swtpm: "swtpm",
  "tpm2-tools": "tpm2",
  "util-linux": "lscpu",
  "xz-utils": "xz",
  zsh: "zsh",
  zstd: "zstd",
} as const satisfies Record<string, string>;

export type PackageName = keyof typeof PACKAGES;

function isInstalled(name: PackageName): boolean {
  const probe = PACKAGES[name];
  return probe.startsWith("/") ? existsSync(probe) : findTool(probe) !== undefined;
}

/** Asks apt for a fresh list of packages. Root only. */
export async function updatePackageLists(): Promise<void> {
  await run(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "update"]);
}

/**
 * Makes sure that packages are installed; silent and without any process when they all are.
 * @throws SetupError when some are missing and this user may not install them, or apt fails.
 */
export async function ensurePackages(names: readonly PackageName[]): Promise<void> {
  const missing = names.filter((name) => !isInstalled(name));
  if (missing.length === 0) return;
  const byHand = `apt-get install --no-install-recommends ${missing.join(" ")}`;
  if (findTool("apt-get") === undefined) {
    throw new SetupError(`These Debian packages (or what your system calls them) are needed: ${missing.join(" ")}`);
  }
  if (process.getuid?.() !== 0) throw new SetupError(`Packages are missing. As root, run: ${byHand}`);
  console.error(`setup: installing ${missing.join(" ")}`);
  const install = () =>
    run(["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "install", "-y", "--no-install-recommends", ...missing], {
      env: { DEBIAN_FRONTEND: "noninteractive" },
    });
  try {
    await install();
  } catch (error) {
    // No package lists, or lists that name versions the archive no longer has: both are cured by fresh lists.
    console.error(
      `setup: fetching fresh package lists (${error instanceof Error ? error.message.split("\n")[0] : error})`,
    );
    await updatePackageLists();
    await install();
  }
  const absent = missing.filter((name) => !isInstalled(name));
  if (absent.length > 0) throw new SetupError(`apt installed ${absent.join(" ")}, yet what they bring is not found`);
}
