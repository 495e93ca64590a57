import { rm } from "node:fs/promises";
import { describeOutcome, PayloadError, type PayloadOutcome, resultNumber } from "../payload/process.ts";
import { runOnQemu } from "../payload/qemu.ts";
import { runOnVmm } from "../payload/vmm.ts";
import { scratchDir } from "../setup/cache.ts";
import { runText } from "../setup/exec.ts";
import { type DiskKind, Disks } from "./block-disks.ts";
import { convertFigure, openFigure } from "./block-images.ts";
import { type Figure, median } from "./figure.ts";

const { CH_BENCH_ROUNDS, CH_BENCH_BLOCK } = process.env;
const ROUNDS = Number(CH_BENCH_ROUNDS ?? 3);
/** Only loads whose names match are run. */
const wanted = new RegExp(CH_BENCH_BLOCK ?? "");

type Operation = "randread" | "randwrite" | "read" | "write";

interface Load {
  readonly disk: DiskKind;
  readonly operation: Operation;
  readonly depth: number;
  readonly queues: number;
}

const SEQUENTIAL_DEPTH = 8;
const RUN_S = 1;
const WARM_MS = 300;
const isRandom = ({ operation }: Load): boolean => operation.startsWith("rand");

/** All of the table: random access at both depths on one queue and on four, sequential access. */
function loadsOn(disk: DiskKind): Load[] {
  // Where nothing is allocated there is nothing to read.
  const operations: readonly Operation[] =
    disk === "qcow2, while allocating" ? ["randwrite", "write"] : ["randread", "randwrite", "read", "write"];
  return operations.flatMap((operation) =>
    operation.startsWith("rand")
      ? [1, 32].flatMap((depth) => [1, 4].map((queues) => ({ disk, operation, depth, queues })))
      : [{ disk, operation, depth: SEQUENTIAL_DEPTH, queues: 1 }],
  );
}

const loads: readonly Load[] = (["raw", "qcow2", "qcow2, while allocating"] as const).flatMap(loadsOn);

const NAMES: Readonly<Record<Operation, string>> = {
  randread: "4 KiB random read",
  randwrite: "4 KiB random write",
  read: "1 MiB sequential read",
  write: "1 MiB sequential write",
};

const nameOf = ({ disk, operation, depth, queues }: Load): string =>
  `${disk}: ${NAMES[operation]}, depth ${depth}, ${queues} queue${queues === 1 ? "" : "s"}`;

const cmdlineOf = ({ operation, depth, queues }: Load): string =>
  `op=${operation} qd=${depth} queues=${queues} seconds=${RUN_S} warm_ms=${WARM_MS}`;

function figureOf(outcome: PayloadOutcome, load: Load): number {
  if (!outcome.passed) throw new PayloadError(`${nameOf(load)}: the payload did not pass: ${describeOutcome(outcome)}`);
  return resultNumber(outcome, isRandom(load) ? "iops" : "mib_per_s");
}

const formatOf = (kind: DiskKind): "raw" | "qcow2" => (kind === "raw" ? "raw" : "qcow2");

/** The guest has one vCPU that polls all queues: on a small machine further ones would only take time from the threads. */
const onOurs = (load: Load, disk: string): Promise<PayloadOutcome> =>
  runOnVmm("blkbench", {
    cmdline: cmdlineOf(load),
    cpus: `boot=${load.queues}`,
    extra: ["--disk", `path=${disk},image_type=${formatOf(load.disk)},num_queues=${load.queues}`],
  });

const onQemu = (load: Load, disk: string): Promise<PayloadOutcome> =>
  runOnQemu("blkbench", {
    cmdline: cmdlineOf(load),
    cpus: load.queues,
    extra: [
      ...["-object", "iothread,id=io"],
      ...["-drive", `file=${disk},if=none,id=disk,format=${formatOf(load.disk)},cache=writeback,aio=io_uring`],
      ...["-device", `virtio-blk-pci,drive=disk,disable-legacy=on,iothread=io,num-queues=${load.queues}`],
    ],
  });

interface FioJob {
  readonly read: { readonly iops: number; readonly bw: number };
  readonly write: { readonly iops: number; readonly bw: number };
}

/** The host's own limit: fio with io_uring on the same file, a job for each queue. */
async function onFio({ operation, depth, queues }: Load, disk: string): Promise<number> {
  const random = operation.startsWith("rand");
  const output = await runText([
    "fio",
    ...["--name=disk", `--filename=${disk}`, "--ioengine=io_uring", `--rw=${operation}`],
    ...[`--bs=${random ? "4k" : "1m"}`, `--iodepth=${depth}`, `--numjobs=${queues}`, "--group_reporting"],
    ...["--time_based", `--runtime=${RUN_S}`, `--ramp_time=${WARM_MS}ms`, "--allow_file_create=0", "--norandommap"],
    ...["--invalidate=0", "--output-format=json"],
  ]);
  const { jobs } = JSON.parse(output.slice(output.indexOf("{"))) as { jobs: FioJob[] };
  const sides = jobs.flatMap(({ read, write }) => [read, write]);
  return random ? sides.reduce((sum, { iops }) => sum + iops, 0) : sides.reduce((sum, { bw }) => sum + bw, 0) / 1024;
}

async function measure(load: Load, disks: Disks): Promise<Figure> {
  const [ours, qemu, fio]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(figureOf(await onOurs(load, await disks.ready(load.disk)), load));
    qemu.push(figureOf(await onQemu(load, await disks.ready(load.disk)), load));
    if (load.disk === "raw") fio.push(await onFio(load, await disks.ready("raw")));
  }
  const share = isRandom(load) ? (load.depth > 1 ? 0.8 : 0) : 0.9;
  const limits = load.disk === "raw" && share > 0;
  return {
    what: `virtio-blk, ${nameOf(load)}`,
    unit: isRandom(load) ? "IOPS" : "MiB/s",
    ours: median(ours),
    others: { "QEMU aio=io_uring": median(qemu), ...(fio.length > 0 ? { "fio io_uring": median(fio) } : {}) },
    goal: {
      text: limits ? `at least QEMU's and ${share * 100} % of fio's` : "at least QEMU's",
      reached: median(ours) >= median(qemu) && (!limits || median(ours) >= share * median(fio)),
    },
  };
}

/**
 * virtio-blk polled by a payload at level 3, the file in the page cache: ours, QEMU's and fio in turn; then what images cost
 * to open and to convert. CH_BENCH_ROUNDS: how often; CH_BENCH_BLOCK: only loads whose names match.
 */
export async function* blockFigures(): AsyncGenerator<Figure> {
  const folder = await scratchDir("bench-block");
  try {
    const disks = new Disks(folder);
    for (const load of loads) if (wanted.test(nameOf(load))) yield await measure(load, disks);
    if (wanted.test("open")) yield await openFigure(folder, ROUNDS);
    if (wanted.test("convert")) yield await convertFigure(folder, ROUNDS);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
