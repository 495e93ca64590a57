import { cp, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { asset } from "./cache.ts";
import { run } from "./exec.ts";
import { makeRootDisk } from "./images.ts";
import { debianKernel, type Kernel } from "./kernels.ts";
import { ensurePackages } from "./packages.ts";
import { packInitramfs, stageBusybox, stageLibrary, stageProgram, stageScript } from "./rootfs.ts";

/** Drivers guests may need; those of the devices present are loaded at boot, the others are there for `modprobe`. */
const GUEST_MODULES = [
  "virtio_pci",
  "virtio_mmio",
  "virtio_blk",
  "virtio_console",
  "virtio_rng",
  "virtio_net",
  "virtio_balloon",
  "virtio_pmem",
  "nd_pmem",
  "virtiofs",
  "virtio_mem",
  "vmw_vsock_virtio_transport",
  "pvpanic_pci",
  "qemu_fw_cfg",
  "button",
  "evdev",
  "ext4",
];

/** Files of guest/ and where they go in the guest. */
const SCRIPTS = [
  ["init", "init"],
  ["inittab", "etc/inittab"],
  ["rc", "etc/rc"],
  ["rc.shutdown", "etc/rc.shutdown"],
  ["session", "etc/session"],
  ["udhcpc", "etc/udhcpc/default.script"],
  ["power-button", "etc/acpi/PWRF/00000080"],
] as const;

const ROOT_FILE_SYSTEM_MIB = 62;
const TOOLS_FILE_SYSTEM_MIB = 126;

/** Programs of the tools disk, next to busybox. Its shell runs its own commands where it has one of that name: `/bin/ip` is this one. */
const TOOLS = ["lscpu", "ip", "ethtool", "iperf3", "socat", "tpm2"] as const;

/** Further names of those programs. */
const TOOL_LINKS = [
  ["tpm2_getrandom", "tpm2"],
  ["tpm2_pcrread", "tpm2"],
  ["tpm2_pcrextend", "tpm2"],
] as const;

/** What `tpm2` loads by itself when it is to use a TPM device. */
const TPM_DEVICE_DRIVER = "/usr/lib/x86_64-linux-gnu/libtss2-tcti-device.so.0";

export const GUEST_SERIES = ["6.1", "6.12"] as const;
export type GuestSeries = (typeof GUEST_SERIES)[number];

/** All that a Linux guest boots from, as paths. */
export interface GuestAssets {
  readonly kernel: Kernel;
  /** Drivers and a busybox system; mounts `root=` when the command line has one, else stays. See guest/init, guest/session. */
  readonly initramfs: string;
  /** Raw GPT disk, ext4 root on partition 1. Shared: copy it before a guest writes to it. */
  readonly rootDisk: string;
  /** The same with many more programs (ethtool, iperf3, socat, ...). Never written to: guests share it, attached read-only. */
  readonly toolsDisk: string;
}

async function sources(...names: string[]): Promise<string[]> {
  return Promise.all(names.map((name) => Bun.file(join(import.meta.dir, name)).text()));
}

async function stageGuestRoot(root: string, kernel: Kernel): Promise<void> {
  await stageBusybox(root);
  await cp(join(kernel.modulesRoot, "lib"), join(root, "lib"), { recursive: true });
  for (const [source, target] of SCRIPTS) await stageScript(root, join(import.meta.dir, "guest", source), target);
}

/** Programs of our own, a C source each in guest/. */
const OWN_TOOLS = ["vsock-connections"] as const;

async function stageTools(root: string): Promise<void> {
  for (const name of OWN_TOOLS) {
    const source = join(import.meta.dir, "guest", `${name}.c`);
    await run(["gcc", "-O1", "-static", "-Wall", "-Werror", "-o", join(root, "bin", name), source]);
  }
  for (const tool of TOOLS) await stageProgram(root, tool);
  for (const [name, target] of TOOL_LINKS) await symlink(target, join(root, "bin", name));
  await stageLibrary(root, TPM_DEVICE_DRIVER);
}

export async function guestAssets(series: GuestSeries): Promise<GuestAssets> {
  await ensurePackages([
    "busybox-static",
    "cpio",
    "kmod",
    "xz-utils",
    "lz4",
    "zstd",
    "e2fsprogs",
    "fdisk",
    "gcc",
    "util-linux",
    "ethtool",
    "iperf3",
    "iproute2",
    "libc6-dev",
    "libtss2-tcti-device0",
    "socat",
    "tpm2-tools",
  ]);
  const kernel = await debianKernel(series, GUEST_MODULES);
  const scripts = SCRIPTS.map(([source]) => `guest/${source}`);
  const programs = OWN_TOOLS.map((name) => `guest/${name}.c`);
  const recipe = await sources("guest-assets.ts", "rootfs.ts", "images.ts", ...scripts, ...programs);
  const dir = await asset(`guest-${series}`, { kernel, recipe }, async (out) => {
    const root = join(out, "root");
    await stageGuestRoot(root, kernel);
    await packInitramfs(root, join(out, "initramfs"));
    await stageProgram(root, "lscpu");
    await makeRootDisk(join(out, "root.raw"), root, ROOT_FILE_SYSTEM_MIB);
    await stageTools(root);
    await makeRootDisk(join(out, "tools.raw"), root, TOOLS_FILE_SYSTEM_MIB);
    await rm(root, { recursive: true });
  });
  return {
    kernel,
    initramfs: join(dir, "initramfs"),
    rootDisk: join(dir, "root.raw"),
    toolsDisk: join(dir, "tools.raw"),
  };
}
