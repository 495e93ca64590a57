import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, copyFileSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tryLockFile } from "../../src/host/file-lock.ts";
import { qemu } from "../unit/block/qemu.ts";
import { Random } from "../unit/random.ts";
import { eventually } from "./eventually.ts";
import { describeOutcome, PayloadError } from "./process.ts";
import { threadEach } from "./queue-threads.ts";
import { startOnVmm } from "./vmm.ts";
import { UNIT_BYTES, WriteLedger } from "./write-ledger.ts";

/** Kills of a run of all tests; CH_KILL_ROUNDS asks for more, CH_KILL_SEED for others. */
const ROUNDS = 25;
const SECONDS_EACH = 20;
/** Lives of an image. */
const ROUNDS_PER_IMAGE = 5;
/** 16 MiB, and no multiple of any larger cluster. */
const UNITS = 4099;
const MOST_FLUSHES = 60;
const MOST_DELAY_MS = 20;

const { CH_KILL_ROUNDS, CH_KILL_SEED } = process.env;
const rounds = Number(CH_KILL_ROUNDS ?? ROUNDS);
const seed = Number(CH_KILL_SEED ?? 1);

const KINDS = ["raw", "qcow2", "vhdx", "on raw", "on compressed qcow2"] as const;
const FORMATS = {
  raw: "raw",
  qcow2: "qcow2",
  vhdx: "vhdx",
  "on raw": "qcow2",
  "on compressed qcow2": "qcow2",
} as const;

/** An image and how it is used, the same over all its lives. */
interface Shape {
  readonly kind: (typeof KINDS)[number];
  readonly version: 2 | 3;
  readonly clusterBytes: number;
  readonly refcountBits: number;
  readonly queues: 1 | 2 | 4;
  /** Whether each queue has a thread of its own, on a host with few CPUs as well. */
  readonly threadEach: boolean;
  readonly direct: boolean;
  readonly uring: boolean;
}

function shapeOf(random: Random, kind: Shape["kind"]): Shape {
  const version = random.below(4) === 0 ? 2 : 3;
  return {
    kind,
    version,
    clusterBytes: random.pick([512, 4096, 65536, 262144]),
    refcountBits: version === 2 ? 16 : random.pick([1, 8, 16, 64]),
    queues: random.pick([1, 2, 4]),
    threadEach: random.below(2) === 0,
    direct: random.below(4) === 0,
    uring: random.below(4) !== 0,
  };
}

interface Totals {
  kills: number;
  early: number;
  flushes: number;
  writes: number;
  zeroes: number;
  discards: number;
  /** Clusters that images had lost in the end. */
  leaks: number;
}

let folder: string;
const path = (name: string): string => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "kill-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Makes the image, and a ledger that knows what it holds. */
function makeImage(shape: Shape, ledger: WriteLedger): void {
  const { kind, version, clusterBytes, refcountBits } = shape;
  const below = kind === "qcow2" || kind === "vhdx" ? ledger.startEmpty() : ledger.startFull();
  if (kind === "raw") {
    writeFileSync(path("image"), below);
    return;
  }
  if (kind === "vhdx") {
    qemu("qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=1M", path("image"), String(below.length));
    return;
  }
  const options = [`compat=${version === 2 ? "0.10" : "1.1"}`, `cluster_size=${clusterBytes}`];
  if (version === 3) options.push(`refcount_bits=${refcountBits}`);
  const create = ["create", "-q", "-f", "qcow2", "-o", options.join(",")];
  if (kind === "qcow2") {
    qemu("qemu-img", ...create, path("image"), String(UNITS * UNIT_BYTES));
    return;
  }
  writeFileSync(path("below"), below);
  if (kind === "on compressed qcow2")
    qemu("qemu-img", "convert", "-q", "-c", "-O", "qcow2", path("below"), path("packed"));
  const backing = kind === "on raw" ? ["-b", path("below"), "-F", "raw"] : ["-b", path("packed"), "-F", "qcow2"];
  qemu("qemu-img", ...create, ...backing, path("image"));
}

/** Waits until the kernel is through with what the killed process had under way: only then does it close the image. */
async function released(): Promise<void> {
  const fd = openSync(path("image"), "r+");
  try {
    await eventually("the image is given up", 10_000, () => tryLockFile(fd, "exclusive", 0) || undefined);
  } finally {
    closeSync(fd);
  }
}

/** What an image holds, and the clusters that it lost. @throws Error when QEMU finds any other fault */
function read(shape: Shape): { readonly contents: Uint8Array; readonly leaks: number } {
  const format = FORMATS[shape.kind];
  if (format === "raw") return { contents: new Uint8Array(readFileSync(path("image"))), leaks: 0 };
  // QEMU replays the log of a VHDX image, which is ours to do: it gets a copy.
  const checked = format === "vhdx" ? path("copy") : path("image");
  if (format === "vhdx") copyFileSync(path("image"), checked);
  const repair = format === "vhdx" ? ["-r", "all"] : [];
  const { exitCode, stdout, stderr } = Bun.spawnSync([
    "qemu-img",
    "check",
    "--output=json",
    ...repair,
    "-f",
    format,
    checked,
  ]);
  // 3: leaks and no errors.
  if (exitCode !== 0 && exitCode !== 3) throw new Error(`qemu-img check: status ${exitCode}\n${stdout}${stderr}`);
  const leaks = Number(/"leaks": (\d+)/.exec(stdout.toString())?.[1] ?? 0);
  qemu("qemu-img", "convert", "-q", "-f", format, "-O", "raw", checked, path("contents"));
  return { contents: new Uint8Array(readFileSync(path("contents"))), leaks };
}

/** Runs the guest until it has had so many flushes, and a little longer. */
async function liveAndDie(shape: Shape, ledger: WriteLedger, random: Random): Promise<{ readonly early: boolean }> {
  const { kind, queues, direct, uring } = shape;
  const cpus = Math.min(queues, 2);
  const flushes = 1 + random.below(MOST_FLUSHES);
  const early = random.below(16) === 0;
  const delayMs = random.below(MOST_DELAY_MS);
  const options = [
    `path=${path("image")},image_type=${FORMATS[kind]},num_queues=${queues}${shape.threadEach ? threadEach(queues) : ""}`,
    `direct=${direct ? "on" : "off"}`,
    ...(kind.startsWith("on ") ? ["backing_files=on"] : []),
    ...(uring ? [] : ["_disable_io_uring=on,_disable_aio=on"]),
  ];
  const guest = await startOnVmm("durable", {
    cmdline: `queues=${queues} cpus=${cpus} qd=8 flushes=${flushes} seed=${random.below(2 ** 30)}`,
    cpus: `boot=${queues}`,
    memory: "size=64M",
    extra: ["--disk", options.join(","), "--ivshmem", `path=${ledger.path},size=${ledger.size}`],
  });
  const awaited = early ? "READY" : "FLUSHED";
  await guest.nextLine((line) => line === awaited || line.startsWith("FAIL"));
  // Nothing waits for this to pass: it makes the moment another one each time.
  await Bun.sleep(delayMs);
  guest.signal("SIGKILL");
  const outcome = await guest.outcome();
  if (outcome.signal !== "SIGKILL" || outcome.failures.length > 0) throw new PayloadError(describeOutcome(outcome));
  return { early };
}

test(
  "a VMM that is killed while guests write loses nothing that a completed flush covers",
  async () => {
    const random = new Random(seed);
    const totals: Totals = { kills: 0, early: 0, flushes: 0, writes: 0, zeroes: 0, discards: 0, leaks: 0 };
    const ledger = new WriteLedger(path("ledger"), UNITS);
    for (let image = 0; totals.kills < rounds; image++) {
      const shape = shapeOf(random, KINDS[image % KINDS.length] ?? "raw");
      let lost = 0;
      try {
        makeImage(shape, ledger);
        for (let life = 0; life < ROUNDS_PER_IMAGE && totals.kills < rounds; life++) {
          const { early } = await liveAndDie(shape, ledger, random);
          await released();
          const { work } = ledger;
          const { contents, leaks } = read(shape);
          const complaints = ledger.settle(contents);
          if (complaints.length > 0) throw new Error(complaints.join("\n"));
          totals.kills++;
          totals.early += early ? 1 : 0;
          totals.flushes += work.flushes;
          totals.writes += work.writes;
          totals.zeroes += work.zeroes;
          totals.discards += work.discards;
          lost = leaks;
        }
      } catch (cause) {
        throw new Error(`seed ${seed}, image ${image}, kill ${totals.kills}: ${JSON.stringify(shape)}`, { cause });
      }
      totals.leaks += lost;
    }
    if (CH_KILL_ROUNDS !== undefined) console.log(JSON.stringify(totals));
    expect(totals.kills).toBe(rounds);
    expect(totals.flushes).toBeGreaterThan(rounds);
    expect(totals.writes).toBeGreaterThan(totals.flushes);
  },
  rounds * SECONDS_EACH * 1000,
);
