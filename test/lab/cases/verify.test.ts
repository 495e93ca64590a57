import { expect, test } from "bun:test";
import { truncate } from "node:fs/promises";
import { runText } from "../../setup/exec.ts";
import { Guest } from "../guest.ts";
import { fioDisk, mountProgram } from "../guest-programs.ts";
import { assetsOf, CASE_TIMEOUT_MS, vmm, Workspace } from "./support.ts";

const { CH_LAB_FULL } = process.env;
/** How long fio writes to each disk; CH_LAB_FULL=1 asks for ten minutes. */
const SECONDS = CH_LAB_FULL === "1" ? 600 : 20;
const DISK_MIB = 96;
const QUEUES = 4;
/** Emulated, fio takes long to start and to check the last round. */
const RUN_MS = SECONDS * 1000 * 1.5 + 120_000;

/** A job for each queue, each in its own part of the disk, that reads back and checks what it wrote. */
const FIO = [
  `--bssplit=512/20:4k/50:64k/30 --blockalign=512 --rw=randwrite --direct=1 --ioengine=libaio --iodepth=16`,
  `--numjobs=${QUEUES} --cpus_allowed=0-${QUEUES - 1} --cpus_allowed_policy=split`,
  `--size=${DISK_MIB / QUEUES}m --offset_increment=${DISK_MIB / QUEUES}m`,
  `--verify=crc32c --verify_fatal=1 --verify_backlog=16 --fsync=32`,
  `--time_based --runtime=${SECONDS} --group_reporting --minimal`,
].join(" ");

test.skipIf(vmm.name !== "cloud-hypervisor")(
  `fio checks what it reads back through ${QUEUES} queues for ${SECONDS} s, on raw and on qcow2 with a backing file`,
  async () => {
    const assets = await assetsOf("6.12");
    const program = await fioDisk();
    await using workspace = await Workspace.make();
    const raw = workspace.path("disk.raw");
    await Bun.write(raw, "");
    await truncate(raw, DISK_MIB << 20);
    const qcow2 = workspace.path("disk.qcow2");
    const below = await workspace.makeNoise("below.raw", DISK_MIB << 20);
    await runText(["qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "raw", qcow2]);
    const queues = `num_queues=${QUEUES}`;
    await using guest = await Guest.start(vmm, {
      assets,
      kernelFormat: "vmlinux",
      vcpus: QUEUES,
      memoryMiB: 1024,
      console: "hvc0",
      disks: [
        { path: program, readonly: true },
        { path: raw, options: queues },
        { path: qcow2, imageType: "qcow2", options: `${queues},backing_files=on` },
      ],
    });
    await guest.ready();
    await mountProgram(guest, "vda", "fio");
    for (const disk of ["vdb", "vdc"]) {
      expect(await guest.run(`ls /sys/block/${disk}/mq | wc -l`)).toBe(String(QUEUES));
      const output = await guest.run(`fio --name=${disk} --filename=/dev/${disk} ${FIO}`, RUN_MS);
      const line = output.split("\n").findLast((text) => text.startsWith("3;")) ?? "";
      // fio(1), TERSE OUTPUT, version 3.
      const fields = line.split(";");
      const [error, readKiB, writtenKiB] = [fields[4], fields[5], fields[46]];
      console.log(`${disk}: ${Number(writtenKiB) >> 10} MiB written, ${Number(readKiB) >> 10} MiB checked`);
      expect(error).toBe("0");
      expect(Number(readKiB)).toBeGreaterThan(0);
      expect(Number(writtenKiB)).toBeGreaterThan(0);
    }
    expect(await guest.powerOff("poweroff -f")).toBe(0);
    await runText(["qemu-img", "check", "-q", "-f", "qcow2", qcow2]);
  },
  CASE_TIMEOUT_MS + 2 * RUN_MS,
);
