import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { expectPass } from "./expect.ts";
import { threadEach } from "./queue-threads.ts";
import { runOnVmm } from "./vmm.ts";

/** How queues are served: a host with few CPUs has fewer threads than queues. */
const SERVED = [
  ["as many threads as the host is good for", ""],
  ["a thread each", threadEach(2)],
] as const;

const MIB = 1 << 20;
const SECTOR = 512;
const DISK_BYTES = 64 * MIB;

let folder: string;
const path = (name: string): string => join(folder, name);

beforeAll(async () => {
  folder = await scratchDir("payload-block");
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** What blkcheck leaves in sectors 2048 to 2175. */
function expectedTail(): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: 128 * SECTOR }, (_, at) => {
    const i = at % SECTOR;
    return ((2048 + Math.floor(at / SECTOR)) * 7 + i + (i >> 8)) & 255;
  });
}

function qemuImg(...args: readonly string[]): void {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["qemu-img", ...args]);
  if (exitCode !== 0) throw new Error(`qemu-img ${args.join(" ")}: status ${exitCode}\n${stdout}${stderr}`);
}

async function makeDisk(name: string, fill: number): Promise<string> {
  await Bun.write(path(name), new Uint8Array(DISK_BYTES).fill(fill));
  return path(name);
}

describe("virtio-blk", () => {
  const variants = [
    ["with io_uring", ""],
    ["with the synchronous engine", ",_disable_io_uring=on,_disable_aio=on"],
    ["with direct I/O", ",direct=on"],
    ["with Linux AIO and direct I/O", ",direct=on,_disable_io_uring=on"],
    ["with a queue of 1024", ",queue_size=1024"],
  ] as const;

  test.each(variants)("every request, error and ring wrap %s", async (_name, options) => {
    const disk = await makeDisk("disk.raw", 0x11);
    const other = await makeDisk("readonly.raw", 0x22);
    const outcome = await runOnVmm("blkcheck", {
      cmdline: "ro=1 strict=1 id=payload-disk",
      extra: [
        "--disk",
        `path=${disk},image_type=raw,serial=payload-disk${options}`,
        `path=${other},image_type=raw,readonly=on${options}`,
      ],
    });
    expectPass(outcome);
    const written = new Uint8Array(await Bun.file(disk).arrayBuffer());
    expect(written.length).toBe(DISK_BYTES);
    expect(written.subarray(2048 * SECTOR, 2176 * SECTOR)).toEqual(expectedTail());
    expect(written.subarray(0, 2048 * SECTOR).every((byte) => byte === 0x11)).toBeTrue();
    const untouched = new Uint8Array(await Bun.file(other).arrayBuffer());
    expect(untouched.every((byte) => byte === 0x22)).toBeTrue();
  });

  test.each([
    ["compressed", ""],
    ["on a backing file", ",backing_files=on"],
  ])("qcow2, %s: every request, error and ring wrap", async (_name, options) => {
    const below = await makeDisk("below.raw", 0x11);
    const image = path("disk.qcow2");
    if (options === "") qemuImg("convert", "-q", "-c", "-O", "qcow2", below, image);
    else qemuImg("create", "-q", "-f", "qcow2", "-b", below, "-F", "raw", image);
    const outcome = await runOnVmm("blkcheck", {
      cmdline: "id=payload-disk",
      extra: ["--disk", `path=${image},image_type=qcow2,serial=payload-disk${options}`],
    });
    expectPass(outcome);
    qemuImg("check", "-q", image);
    qemuImg("convert", "-q", "-O", "raw", image, path("contents.raw"));
    const written = await Bun.file(path("contents.raw")).bytes();
    expect(written.subarray(2048 * SECTOR, 2176 * SECTOR)).toEqual(expectedTail());
    expect(written.subarray(0, 2048 * SECTOR).every((byte) => byte === 0x11)).toBeTrue();
  });

  test("VHD: every request, error and ring wrap; the footer stays", async () => {
    const image = path("disk.vhd");
    const options = ["-O", "vpc", "-o", "subformat=fixed,force_size=on"];
    qemuImg("convert", "-q", "-f", "raw", ...options, await makeDisk("before.raw", 0x11), image);
    const footer = (await Bun.file(image).bytes()).subarray(DISK_BYTES);
    const outcome = await runOnVmm("blkcheck", {
      cmdline: "id=payload-disk",
      extra: ["--disk", `path=${image},image_type=vhd,serial=payload-disk`],
    });
    expectPass(outcome);
    const written = await Bun.file(image).bytes();
    expect(written.subarray(2048 * SECTOR, 2176 * SECTOR)).toEqual(expectedTail());
    expect(written.subarray(0, 2048 * SECTOR).every((byte) => byte === 0x11)).toBeTrue();
    expect(written.subarray(DISK_BYTES)).toEqual(footer);
  });

  test.each(SERVED)("qcow2: several queues on %s: none loses what another one writes", async (_, threads) => {
    const image = path("queues.qcow2");
    qemuImg("create", "-q", "-f", "qcow2", "-o", "cluster_size=4096", image, String(DISK_BYTES));
    const outcome = await runOnVmm("blkbench", {
      cmdline: "op=randwrite queues=2 cpus=2 qd=16 seconds=1",
      cpus: "boot=2",
      extra: ["--disk", `path=${image},image_type=qcow2,num_queues=2${threads}`],
    });
    expectPass(outcome);
    qemuImg("check", "-q", image);
  });

  for (const subformat of ["dynamic", "fixed"])
    test(`VHDX, ${subformat}: every request, error and ring wrap`, async () => {
      const image = path("disk.vhdx");
      const options = ["-O", "vhdx", "-o", `subformat=${subformat},block_size=1M`];
      qemuImg("convert", "-q", "-f", "raw", ...options, await makeDisk("before.raw", 0x11), image);
      const outcome = await runOnVmm("blkcheck", {
        cmdline: "id=payload-disk",
        extra: ["--disk", `path=${image},image_type=vhdx,serial=payload-disk`],
      });
      expectPass(outcome);
      qemuImg("check", "-q", image);
      qemuImg("convert", "-q", "-O", "raw", image, path("contents.raw"));
      const written = await Bun.file(path("contents.raw")).bytes();
      expect(written.subarray(2048 * SECTOR, 2176 * SECTOR)).toEqual(expectedTail());
      expect(written.subarray(0, 2048 * SECTOR).every((byte) => byte === 0x11)).toBeTrue();
    });

  test.each(SERVED)("VHDX: several queues on %s: none loses what another one writes", async (_, threads) => {
    const image = path("queues.vhdx");
    qemuImg("create", "-q", "-f", "vhdx", "-o", "block_size=1M", image, String(DISK_BYTES));
    const outcome = await runOnVmm("blkbench", {
      cmdline: "op=randwrite queues=2 cpus=2 qd=16 seconds=1",
      cpus: "boot=2",
      extra: ["--disk", `path=${image},image_type=vhdx,num_queues=2${threads}`],
    });
    expectPass(outcome);
    qemuImg("check", "-q", image);
  });

  test.each(SERVED)("several queues on %s", async (_, threads) => {
    const disk = await makeDisk("queues.raw", 0);
    const outcome = await runOnVmm("blkbench", {
      cmdline: "op=randwrite queues=2 cpus=2 qd=16 seconds=1",
      cpus: "boot=2",
      extra: ["--disk", `path=${disk},image_type=raw,num_queues=2${threads}`],
    });
    expectPass(outcome);
    expect(outcome.results[0]).toMatchObject({ queues: "2", cpus: "2" });
  });

  test("MSI-X: delivery, masks, pending bits, suppression, destinations", async () => {
    const disk = await makeDisk("msix.raw", 0);
    const outcome = await runOnVmm("msix", {
      cmdline: "cpus=2",
      cpus: "boot=2",
      extra: ["--disk", `path=${disk},image_type=raw`],
    });
    expectPass(outcome);
  });
});
