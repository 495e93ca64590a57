import { afterAll, describe, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Qcow2Image } from "../../../../src/block/qcow2/image.ts";
import { viewOf } from "../../../../src/block/qcow2/image.ts";
import { Qcow2Disk } from "../../../../src/block/qcow2/qcow2-disk.ts";
import { RawDisk } from "../../../../src/block/raw-disk.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { Random } from "../../random.ts";
import { openAnyImage, TestFolder } from "../files.ts";
import { expectContents, RecordedDisk, SECTOR, writeCut } from "../power-cut.ts";
import { contentsOf, qemu } from "../qemu.ts";
import { RecordingEngine, RecordingFile } from "../recorder.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());

/** Opens an image to record what is written to it. */
function record(path: string, start: Uint32Array, resources: DisposableStack): RecordedDisk {
  const opened = openAnyImage(path, { format: "qcow2", backingFiles: true });
  resources.defer(() => opened.close());
  const image = opened.image as Qcow2Image;
  const recording = new RecordingFile(image.cachedFd);
  const dataFd = image.data?.cachedFd;
  const data = dataFd === undefined ? recording : new RecordingFile(dataFd, recording);
  const fd = dataFd ?? image.fd;
  const file = { fd, cachedFd: fd, alignment: 1, isDevice: false, endsInZeroes: true };
  const raw = new RawDisk(file, new RecordingEngine(data), mapAnonymous(4096), 8, 4);
  const disk = new Qcow2Disk(image, viewOf(image, recording, data), data, raw, 0);
  const cluster = 2 ** image.header.clusterBits / SECTOR;
  const unit = image.header.entryBytes === 8 ? cluster : cluster / 32;
  const keepsDiscarded = image.header.version === 2 && image.header.backing !== undefined;
  return resources.use(
    new RecordedDisk(disk, recording, start, (sector, count) => {
      const end = sector + count === start.length ? start.length : Math.floor((sector + count) / unit) * unit;
      return keepsDiscarded ? [0, 0] : [Math.ceil(sector / unit) * unit, end];
    }),
  );
}

/** The image is whole, but for clusters that are lost. */
function expectWhole(path: string): void {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["qemu-img", "check", "-f", "qcow2", path]);
  // 3: leaked clusters only.
  if (exitCode !== 0 && exitCode !== 3) throw new Error(`qemu-img check: status ${exitCode}\n${stdout}${stderr}`);
}

interface Case {
  readonly clusterBytes: number;
  readonly compat: "0.10" | "1.1" | "1.1,extended_l2=on";
  readonly dataFile: "none" | "plain" | "raw";
  readonly backing: boolean;
  readonly snapshot: boolean;
}

function makeImage(
  { clusterBytes, compat, backing, snapshot, dataFile }: Case,
  sectors: number,
): [string, Uint32Array] {
  const path = join(folder.path, "image.qcow2");
  const start = new Uint32Array(sectors);
  const outside =
    dataFile === "none" ? "" : `,data_file=${path}.data,data_file_raw=${dataFile === "raw" ? "on" : "off"}`;
  const options = `compat=${compat},cluster_size=${clusterBytes}${outside}`;
  const below: string[] = [];
  if (backing) {
    const base = Buffer.alloc(sectors * SECTOR);
    for (let sector = 0; sector < sectors; sector++) {
      start[sector] = 1_000_000 + sector;
      base.writeUInt32LE(1_000_000 + sector, sector * SECTOR);
    }
    below.push("-b", folder.file("base.raw", base), "-F", "raw");
  }
  qemu("qemu-img", "create", "-q", "-f", "qcow2", ...below, "-o", options, path, String(sectors * SECTOR));
  if (snapshot) {
    qemu("qemu-io", "-f", "qcow2", "-c", `write -q -P 0 0 ${(sectors * SECTOR) / 2}`, path);
    start.fill(0, 0, sectors / 2);
    qemu("qemu-img", "snapshot", "-q", "-c", "before", path);
  }
  return [path, start];
}

const CASES: Case[] = [
  { clusterBytes: 512, compat: "1.1", backing: false, snapshot: false, dataFile: "none" },
  { clusterBytes: 4096, compat: "1.1", backing: true, snapshot: false, dataFile: "none" },
  { clusterBytes: 65536, compat: "1.1", backing: false, snapshot: false, dataFile: "none" },
  { clusterBytes: 4096, compat: "0.10", backing: true, snapshot: true, dataFile: "none" },
  { clusterBytes: 65536, compat: "1.1", backing: true, snapshot: true, dataFile: "none" },
  { clusterBytes: 16384, compat: "1.1,extended_l2=on", backing: false, snapshot: false, dataFile: "none" },
  { clusterBytes: 65536, compat: "1.1,extended_l2=on", backing: true, snapshot: false, dataFile: "none" },
  { clusterBytes: 16384, compat: "1.1,extended_l2=on", backing: true, snapshot: true, dataFile: "none" },
  { clusterBytes: 4096, compat: "1.1", backing: true, snapshot: false, dataFile: "plain" },
  { clusterBytes: 65536, compat: "1.1", backing: false, snapshot: false, dataFile: "raw" },
  { clusterBytes: 16384, compat: "1.1,extended_l2=on", backing: true, snapshot: false, dataFile: "plain" },
];
const { CH_QCOW2_CUTS } = process.env;
const CUTS = Number(CH_QCOW2_CUTS ?? 6);

describe("power is cut at any write", () => {
  test.each(CASES)(
    "$clusterBytes, $compat, backing file: $backing, snapshot: $snapshot, data file: $dataFile",
    async (of) => {
      const random = new Random(of.clusterBytes + (of.backing ? 1 : 0));
      const [path, sectors] = makeImage(of, 2048);
      const start = new Uint8Array(readFileSync(path));
      using resources = new DisposableStack();
      const data = of.dataFile === "none" ? undefined : new Uint8Array(readFileSync(`${path}.data`));
      const disk = record(path, sectors, resources);
      for (let i = 0; i < 120; i++) {
        const sector = random.below(disk.size);
        const count = 1 + random.below(Math.min(disk.size - sector, 1 + random.below(200)));
        const what = random.below(12);
        if (what < 6) disk.write(sector, count);
        else if (what < 8) disk.zero(sector, count, what === 6);
        else if (what < 10) disk.discard(sector, count);
        else disk.flush();
      }
      disk.flush();
      const { file, moments } = disk;
      const events = file.events.slice();
      resources.dispose();
      // An image names its data file, which is therefore cut in its place.
      const cutPath = data === undefined ? join(folder.path, "cut.qcow2") : path;
      for (let i = 0; i < CUTS; i++) {
        const at = i === 0 ? events.length : random.below(events.length + 1);
        writeCut(cutPath, start, events, at, random);
        if (data !== undefined) writeCut(`${path}.data`, data, events, at, random, 1);
        expectWhole(cutPath);
        expectContents(await contentsOf(cutPath, join(folder.path, "cut.raw")), moments, at);
      }
    },
    120_000,
  );
});
