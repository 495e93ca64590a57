import { rm } from "node:fs/promises";
import { join } from "node:path";
import { describeOutcome, PayloadError, type PayloadOutcome, resultNumber } from "../payload/process.ts";
import { runOnQemu } from "../payload/qemu.ts";
import { runOnVmm } from "../payload/vmm.ts";
import { scratchDir } from "../setup/cache.ts";
import { type Figure, median } from "./figure.ts";

const DISK_BYTES = 512 << 20;
const CHUNK_BYTES = 1 << 20;
const ROUNDS = 3;

interface Load {
  readonly what: string;
  readonly cmdline: string;
  readonly key: "iops" | "mib_per_s";
  readonly unit: string;
  readonly goal: boolean;
}

const loads: readonly Load[] = [
  {
    what: "virtio-blk 4 KiB random read, depth 32",
    cmdline: "op=randread qd=32 seconds=2",
    key: "iops",
    unit: "IOPS",
    goal: true,
  },
  {
    what: "virtio-blk 4 KiB random write, depth 32",
    cmdline: "op=randwrite qd=32 seconds=2",
    key: "iops",
    unit: "IOPS",
    goal: false,
  },
  {
    what: "virtio-blk 1 MiB sequential read, depth 8",
    cmdline: "op=read qd=8 seconds=2",
    key: "mib_per_s",
    unit: "MiB/s",
    goal: false,
  },
];

function figureOf(outcome: PayloadOutcome, load: Load): number {
  if (!outcome.passed) {
    throw new PayloadError(`${load.what}: the payload did not pass: ${describeOutcome(outcome)}`);
  }
  return resultNumber(outcome, load.key);
}

/** A file with data in every block, written just now and so in the page cache. */
async function makeDisk(path: string): Promise<void> {
  const writer = Bun.file(path).writer();
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (let at = 0; at < DISK_BYTES; at += CHUNK_BYTES) {
    crypto.getRandomValues(chunk.subarray(0, 65536));
    writer.write(chunk.slice());
    await writer.flush();
  }
  await writer.end();
}

const onQemu = (load: Load, disk: string, engine: "threads" | "io_uring"): Promise<PayloadOutcome> =>
  runOnQemu("blkbench", {
    cmdline: load.cmdline,
    extra: [
      ...["-drive", `file=${disk},if=none,id=disk,format=raw,cache=writeback,aio=${engine}`],
      ...["-device", "virtio-blk-pci,drive=disk,disable-legacy=on"],
    ],
  });

/** virtio-blk polled by a payload at level 3, the file in the page cache; ours and QEMU's virtio-blk-pci in turn. */
export async function blockFigures(): Promise<Figure[]> {
  const folder = await scratchDir("bench-block");
  const figures: Figure[] = [];
  try {
    const disk = join(folder, "disk.raw");
    await makeDisk(disk);
    for (const load of loads) {
      const [ours, threads, uring]: [number[], number[], number[]] = [[], [], []];
      for (let round = 0; round < ROUNDS; round++) {
        const own = await runOnVmm("blkbench", {
          cmdline: load.cmdline,
          extra: ["--disk", `path=${disk},image_type=raw`],
        });
        ours.push(figureOf(own, load));
        threads.push(figureOf(await onQemu(load, disk, "threads"), load));
        uring.push(figureOf(await onQemu(load, disk, "io_uring"), load));
      }
      const others = { "QEMU virtio-blk-pci": median(threads), "QEMU with aio=io_uring": median(uring) };
      const reached = median(ours) >= median(threads);
      figures.push({
        what: load.what,
        unit: load.unit,
        ours: median(ours),
        others,
        ...(load.goal ? { goal: { text: "at least QEMU's virtio-blk-pci", reached } } : {}),
      });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  return figures;
}
