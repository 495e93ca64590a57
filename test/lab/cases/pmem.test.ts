import { expect, test } from "bun:test";
import { truncate } from "node:fs/promises";
import { runText } from "../../setup/exec.ts";
import { Guest } from "../guest.ts";
import { assetsOf, CASE_TIMEOUT_MS, unexpectedWarnings, vmm, Workspace } from "./support.ts";

const MIB = 1 << 20;

/** Linux says so of all virtio-pmem devices, for which it asks about processor caches alone; flush requests are sent nevertheless. */
const OF_ANY_VMM = /nd_pmem .*unable to guarantee persistence of writes/;

/** An ext4 file system in a file, to be seen as persistent memory. */
async function fileSystem(workspace: Workspace, name: string): Promise<string> {
  const path = workspace.path(name);
  await Bun.write(path, "");
  await truncate(path, 32 * MIB);
  await runText(["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", path]);
  return path;
}

const sha256 = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

test(
  "ext4 with DAX on persistent memory: what is written survives a reboot and is in the file, unless writes are discarded",
  async () => {
    const assets = await assetsOf("6.12");
    await using workspace = await Workspace.make();
    const kept = await fileSystem(workspace, "kept.raw");
    const discarded = await fileSystem(workspace, "discarded.raw");
    const before = sha256(await Bun.file(discarded).bytes());
    await using guest = await Guest.start(vmm, {
      assets,
      kernelFormat: "vmlinux",
      vcpus: 2,
      memoryMiB: 256,
      console: "hvc0",
      disks: [],
      options: ["--pmem", `file=${kept}`, `file=${discarded},discard_writes=on`],
    });
    await guest.ready();
    await guest.run("modprobe ext4; mkdir -p /kept /discarded");
    const mount = "mount -t ext4 -o dax=always /dev/pmem0 /kept && mount -t ext4 -o dax=always /dev/pmem1 /discarded";
    await guest.run(mount);
    expect(await guest.run("cat /sys/block/pmem*/queue/dax /sys/block/pmem*/size")).toBe("1\n1\n65536\n65536");
    expect(await guest.run("grep -c dax=always /proc/mounts")).toBe("2");
    const [sum] = (
      await guest.run(
        "head -c 1048576 /dev/urandom >/tmp/data; for d in kept discarded; do cp /tmp/data /$d/data; done; sync; " +
          "sha256sum </kept/data",
      )
    ).split(" ");
    const warnings = await unexpectedWarnings(guest);
    expect(warnings.filter((line) => !OF_ANY_VMM.test(line))).toEqual([]);

    await guest.reboot("umount /kept; reboot");
    await guest.run("modprobe ext4; mkdir -p /kept /discarded");
    await guest.run(mount);
    expect((await guest.run("sha256sum </kept/data")).split(" ")[0]).toBe(sum ?? "");
    expect(await guest.run("ls /discarded")).toBe("lost+found");
    expect(await guest.powerOff("umount /kept; poweroff")).toBe(0);

    await runText(["debugfs", "-R", `dump /data ${workspace.path("data")}`, kept]);
    expect(sha256(await Bun.file(workspace.path("data")).bytes())).toBe(sum ?? "");
    expect(sha256(await Bun.file(discarded).bytes())).toBe(before);
  },
  CASE_TIMEOUT_MS,
);
