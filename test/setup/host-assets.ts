import { cp, rm } from "node:fs/promises";
import { join } from "node:path";
import { asset } from "./cache.ts";
import { run } from "./exec.ts";
import { debianKernel } from "./kernels.ts";
import { ensurePackages } from "./packages.ts";
import { packInitramfs, stageBusybox, stageScript } from "./rootfs.ts";

/** The emulated host's own drivers, and those of host features that tests may load (`lab.modules=`). */
const HOST_MODULES = [
  "9pnet_virtio",
  "9p",
  "kvm_amd",
  "tun",
  "macvtap",
  "vhost_net",
  "vhost_vsock",
  "vhost_vdpa",
  "vduse",
  "vfio",
  "vfio_iommu_type1",
  "vfio_pci",
  "virtio_net",
  "bridge",
  "veth",
  "loop",
  "nbd",
];

/** What the emulated KVM host boots from. */
export interface HostAssets {
  readonly kernel: string;
  readonly initramfs: string;
}

export async function hostAssets(): Promise<HostAssets> {
  await ensurePackages([
    "qemu-system-x86",
    "busybox-static",
    "cpio",
    "kmod",
    "xz-utils",
    "lz4",
    "zstd",
    "gcc",
    "libc6-dev",
  ]);
  const kernel = await debianKernel("host", HOST_MODULES);
  const recipe = await Promise.all(
    ["host-assets.ts", "rootfs.ts", "host/init", "host/hold-static-keys.c"].map((name) =>
      Bun.file(join(import.meta.dir, name)).text(),
    ),
  );
  const dir = await asset("lab-host", { kernel, recipe }, async (out) => {
    const root = join(out, "root");
    await stageBusybox(root);
    await cp(join(kernel.modulesRoot, "lib"), join(root, "lib"), { recursive: true });
    await stageScript(root, join(import.meta.dir, "host/init"), "init");
    const holder = join(import.meta.dir, "host/hold-static-keys.c");
    await run(["gcc", "-O1", "-static", "-Wall", "-Werror", "-o", join(root, "bin/hold-static-keys"), holder]);
    await packInitramfs(root, join(out, "initramfs"));
    await rm(root, { recursive: true });
  });
  return { kernel: kernel.bzImage, initramfs: join(dir, "initramfs") };
}
