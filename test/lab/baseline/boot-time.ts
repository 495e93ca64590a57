import { findTool, SetupError } from "../../setup/exec.ts";
import type { GuestAssets } from "../../setup/guest-assets.ts";
import { Guest } from "../guest.ts";
import { cloudHypervisor, type GuestSpec, kernelCmdline, qemuMicrovm, type VmmDriver } from "../vmm.ts";

/** QEMU's leanest: microvm with virtio-mmio, no PCI, PIC, PIT or option ROMs; serial console. */
const qemuMicrovmLean: VmmDriver = {
  ...qemuMicrovm,
  name: "qemu-microvm-lean",
  command(spec) {
    const qemu = findTool("qemu-system-x86_64");
    if (qemu === undefined) throw new SetupError("qemu-system-x86_64 is not installed");
    const { kernel, initramfs } = spec.assets;
    return [
      qemu,
      ...["-nodefaults", "-no-user-config", "-nographic", "-accel", "kvm", "-cpu", "host", "-smp", String(spec.vcpus)],
      ...["-M", "microvm,pit=off,pic=off,rtc=on,isa-serial=off,x-option-roms=off", "-m", `${spec.memoryMiB}M`],
      ...["-kernel", spec.kernelFormat === "bzImage" ? kernel.bzImage : kernel.vmlinux],
      ...["-initrd", initramfs, "-append", `${kernelCmdline(spec)} reboot=acpi`],
      ...["-chardev", "stdio,id=terminal,signal=off", "-device", "isa-serial,chardev=terminal"],
      ...["-device", "virtio-rng-device"],
    ];
  },
};

/** Times of boots of one VMM, in the order they were run. */
export interface BootTimes {
  readonly vmm: string;
  /** Start of the VMM's process to the guest's first program, seen from outside. */
  readonly toInitMs: readonly number[];
  readonly medianMs: number;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const [low = Number.NaN, high = Number.NaN] = [sorted[sorted.length % 2 === 0 ? middle - 1 : middle], sorted[middle]];
  return (low + high) / 2;
}

async function bootOnce(driver: VmmDriver, spec: GuestSpec): Promise<number> {
  await using guest = await Guest.start(driver, spec);
  const milliseconds = await guest.atInit();
  await guest.ready();
  await guest.powerOff("poweroff -f");
  return milliseconds;
}

/** What all VMMs boot when their boot times are compared: 1 vCPU, 512 MiB, initramfs, console on ttyS0. */
export function bootTimeGuest(assets: GuestAssets, kernelFormat: "bzImage" | "vmlinux"): GuestSpec {
  return { assets, kernelFormat, vcpus: 1, memoryMiB: 512, console: "ttyS0", disks: [] };
}

/** Boots the same guest in turn under each driver, `rounds` times, so that drift of the machine hits all alike. */
export async function measureBoots(
  drivers: readonly VmmDriver[],
  spec: GuestSpec,
  rounds: number,
): Promise<BootTimes[]> {
  const times = drivers.map((driver) => ({ driver, toInitMs: [] as number[] }));
  for (let round = 0; round < rounds; round++) {
    for (const { driver, toInitMs } of times) toInitMs.push(await bootOnce(driver, spec));
  }
  return times.map(({ driver, toInitMs }) => ({ vmm: driver.name, toInitMs, medianMs: median(toInitMs) }));
}

/** Boot time of QEMU's microvm alone, on the KVM host this runs on (the lab's, or the machine's own). */
export async function measureQemuMicrovmBoot(assets: GuestAssets, rounds: number): Promise<BootTimes> {
  const [times] = await measureBoots([qemuMicrovmLean], bootTimeGuest(assets, "vmlinux"), rounds);
  if (times === undefined) throw new Error("one driver, one result");
  return times;
}

/** Ours and QEMU's microvm side by side. */
export function compareBoots(
  assets: GuestAssets,
  kernelFormat: "bzImage" | "vmlinux",
  rounds: number,
): Promise<BootTimes[]> {
  return measureBoots([cloudHypervisor, qemuMicrovmLean], bootTimeGuest(assets, kernelFormat), rounds);
}
