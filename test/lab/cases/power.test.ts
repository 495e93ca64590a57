import { expect, test } from "bun:test";
import { checkExt4, makeExt4, ROOT_PARTITION_OFFSET } from "../../setup/images.ts";
import { Guest } from "../guest.ts";
import { assetsOf, CASE_TIMEOUT_MS, unexpectedWarnings, vmm, Workspace } from "./support.ts";

/** 256 MiB through two levels of emulation. */
const BULK_TIMEOUT_MS = 180_000;

test(
  "256 MiB of random data read back the same after a reboot; poweroff ends the VMM; fsck is clean",
  async () => {
    const assets = await assetsOf("6.1");
    await using workspace = await Workspace.make();
    const root = await workspace.rootDisk(assets);
    const data = workspace.path("data.raw");
    await makeExt4(data, 320, "data");
    await using guest = await Guest.start(vmm, {
      assets,
      kernelFormat: "vmlinux",
      vcpus: 2,
      memoryMiB: 1024,
      console: "ttyS0",
      disks: [{ path: root }, { path: data }],
      root: "/dev/vda1",
    });
    await guest.ready();
    const bootId = await guest.run("cat /proc/sys/kernel/random/boot_id");
    await guest.run("mount /dev/vdb /mnt && echo kept >/root/kept");
    await guest.run("dd if=/dev/urandom of=/mnt/random bs=1M count=256 2>/dev/null && sync", BULK_TIMEOUT_MS);
    const written = await guest.run("md5sum /mnt/random", BULK_TIMEOUT_MS);
    expect(written).toMatch(/^[0-9a-f]{32} /);

    await guest.reboot();
    expect(await guest.run("cat /proc/sys/kernel/random/boot_id")).not.toBe(bootId);
    expect(await guest.run("cat /root/kept")).toBe("kept");
    await guest.run("mount -o ro /dev/vdb /mnt");
    expect(await guest.run("stat -c %s /mnt/random")).toBe(String(256 * 1024 * 1024));
    expect(await guest.run("md5sum /mnt/random", BULK_TIMEOUT_MS)).toBe(written);
    expect(await unexpectedWarnings(guest)).toEqual([]);

    expect(await guest.powerOff()).toBe(0);
    await checkExt4(root, ROOT_PARTITION_OFFSET);
    await checkExt4(data);
  },
  2 * CASE_TIMEOUT_MS,
);

test(
  "the ACPI power button makes the guest power off in order",
  async () => {
    const assets = await assetsOf("6.12");
    await using workspace = await Workspace.make();
    const root = await workspace.rootDisk(assets);
    await using guest = await Guest.start(vmm, {
      assets,
      kernelFormat: "bzImage",
      vcpus: 1,
      memoryMiB: 512,
      console: "hvc0",
      disks: [{ path: root }],
      root: "/dev/vda1",
      powerButton: true,
    });
    await guest.ready();
    await guest.run("echo kept >/root/kept");
    expect(await guest.pressPowerButton()).toBe(0);
    expect(guest.console.transcript).toContain("power button pressed");
    await checkExt4(root, ROOT_PARTITION_OFFSET);
  },
  CASE_TIMEOUT_MS,
);
