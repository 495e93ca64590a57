import { expect, test } from "bun:test";
import { truncate } from "node:fs/promises";
import { Guest } from "../guest.ts";
import type { DiskSpec } from "../vmm.ts";
import { assetsOf, CASE_TIMEOUT_MS, vmm, Workspace } from "./support.ts";

const SECTOR = 512;

/** `/dev/vda`, `/dev/vdb`, ... */
function deviceName(index: number): string {
  return `vd${String.fromCharCode("a".charCodeAt(0) + index)}`;
}

/** A disk of its own size whose first sector says which one it is. */
async function makeNumberedDisk(path: string, index: number, sectors: number): Promise<void> {
  await Bun.write(path, `disk ${String(index).padStart(2, "0")}`.padEnd(SECTOR, "."));
  await truncate(path, sectors * SECTOR);
}

function sectorsOf(index: number): number {
  return 2048 + index * 8;
}

test(
  "16 disks at once, the second read-only: each has its own size, serial and content",
  async () => {
    const assets = await assetsOf("6.12");
    await using workspace = await Workspace.make();
    const disks: DiskSpec[] = [{ path: await workspace.rootDisk(assets) }];
    for (let index = 1; index < 16; index++) {
      const path = workspace.path(`disk${index}.raw`);
      await makeNumberedDisk(path, index, sectorsOf(index));
      disks.push({ path, serial: `serial-${index}`, readonly: index === 1 });
    }
    const readonlyBefore = await Bun.file(workspace.path("disk1.raw")).bytes();
    await using guest = await Guest.start(vmm, {
      assets,
      kernelFormat: "vmlinux",
      vcpus: 2,
      memoryMiB: 512,
      console: "hvc0",
      disks,
      root: "/dev/vda1",
    });
    await guest.ready();

    const seen = await guest.run(
      "for d in b c d e f g h i j k l m n o p; do cd /sys/block/vd$d; " +
        'echo "vd$d $(cat size) $(cat serial) $(cat ro) $(head -c 7 /dev/vd$d)"; done',
    );
    const wanted = disks.slice(1).map((disk, i) => {
      const index = i + 1;
      const label = `disk ${String(index).padStart(2, "0")}`;
      return `${deviceName(index)} ${sectorsOf(index)} ${disk.serial} ${index === 1 ? 1 : 0} ${label}`;
    });
    expect(seen.split("\n")).toEqual(wanted);

    const write = await guest.try("echo overwritten >/dev/vdb");
    expect(write.status).not.toBe(0);
    await guest.run(
      'for d in c d e f g h i j k l m n o p; do echo "end of vd$d" | ' +
        "dd of=/dev/vd$d bs=512 seek=$(($(cat /sys/block/vd$d/size) - 1)) conv=fsync,notrunc 2>/dev/null || exit 1; done",
    );
    expect(await guest.powerOff("sync; mount -o remount,ro /; poweroff -f")).toBe(0);

    expect(await Bun.file(workspace.path("disk1.raw")).bytes()).toEqual(readonlyBefore);
    for (let index = 2; index < 16; index++) {
      const file = Bun.file(workspace.path(`disk${index}.raw`));
      expect(file.size).toBe(sectorsOf(index) * SECTOR);
      const last = await file.slice(file.size - SECTOR).text();
      expect(last.slice(0, 10)).toBe(`end of ${deviceName(index)}`);
      expect(await file.slice(0, 7).text()).toBe(`disk ${String(index).padStart(2, "0")}`);
    }
  },
  CASE_TIMEOUT_MS,
);
