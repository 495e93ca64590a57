import { describe, expect, test } from "bun:test";
import { GUEST_SERIES, type GuestSeries } from "../../setup/guest-assets.ts";
import { Guest } from "../guest.ts";
import { fullMatrix, pairwiseMatrix } from "../pairwise.ts";
import { assetsOf, CASE_TIMEOUT_MS, unexpectedWarnings, vmm, Workspace } from "./support.ts";

type Boot = {
  kernel: GuestSeries;
  format: "bzImage" | "vmlinux";
  vcpus: number;
  memoryMiB: number;
  root: "initramfs" | "disk";
  console: "hvc0" | "ttyS0";
};

const DIMENSIONS = {
  kernel: GUEST_SERIES,
  format: ["bzImage", "vmlinux"],
  vcpus: [1, 2, 4],
  memoryMiB: [256, 1024, 5120],
  root: ["initramfs", "disk"],
  console: ["hvc0", "ttyS0"],
} as const;

/** Every two values meet; with CH_LAB_FULL=1 every combination is booted. */
const { CH_LAB_FULL } = process.env;
const boots = CH_LAB_FULL === "1" ? fullMatrix<Boot>(DIMENSIONS) : pairwiseMatrix<Boot>(DIMENSIONS);

/** What a kernel may keep for itself of that much memory (its image, per-page structures, tables), at most. */
function reservedKiB(memoryMiB: number): number {
  return (72 + memoryMiB * 0.03) * 1024;
}

describe("a stock Debian kernel boots", () => {
  test.each(boots)(
    "$kernel as $format, $vcpus vCPUs, $memoryMiB MiB, from $root, console $console",
    async ({ kernel, format, vcpus, memoryMiB, root, console }) => {
      const assets = await assetsOf(kernel);
      await using workspace = await Workspace.make();
      const fromDisk = root === "disk";
      await using guest = await Guest.start(vmm, {
        assets,
        kernelFormat: format,
        vcpus,
        memoryMiB,
        console,
        disks: fromDisk ? [{ path: await workspace.rootDisk(assets) }] : [],
        ...(fromDisk ? { root: "/dev/vda1" } : {}),
      });
      const report = await guest.ready();
      expect(report.kernel).toBe(assets.kernel.release);
      expect(report.cpus).toBe(vcpus);
      expect(report.root).toBe(fromDisk ? "/dev/vda1" : "rootfs");
      expect(report.memoryKiB).toBeLessThanOrEqual(memoryMiB * 1024);
      expect(report.memoryKiB).toBeGreaterThan(memoryMiB * 1024 - reservedKiB(memoryMiB));
      expect(await unexpectedWarnings(guest)).toEqual([]);
      expect(await guest.powerOff("sync; mount -o remount,ro / 2>/dev/null; poweroff -f")).toBe(0);
    },
    CASE_TIMEOUT_MS,
  );
});
