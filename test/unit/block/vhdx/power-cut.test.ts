import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { RawDisk } from "../../../../src/block/raw-disk.ts";
import { type VhdxImage, viewOf } from "../../../../src/block/vhdx/image.ts";
import { VhdxDisk } from "../../../../src/block/vhdx/vhdx-disk.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { Random } from "../../random.ts";
import { DiskDriver } from "../disk-driver.ts";
import { openAnyImage, TestFolder } from "../files.ts";
import { expectContents, RecordedDisk, SECTOR, writeCut } from "../power-cut.ts";
import { checkImage, contentsOf, qemu } from "../qemu.ts";
import { RecordingEngine, RecordingFile } from "../recorder.ts";

const MIB = 1 << 20;
const folder = new TestFolder("memory");
afterAll(() => folder.remove());

/** Opens an image to record what is written to it, from the first change on. */
function record(path: string, sectors: number, keepsSpace: boolean, resources: DisposableStack): RecordedDisk {
  const opened = openAnyImage(path, { format: "vhdx" });
  resources.defer(() => opened.close());
  const image = opened.image as VhdxImage;
  const recording = new RecordingFile(image.cachedFd);
  const file = { fd: image.fd, cachedFd: image.cachedFd, alignment: 1, isDevice: false, endsInZeroes: true };
  const raw = new RawDisk(file, new RecordingEngine(recording), mapAnonymous(4096), 4, 4);
  const disk = new VhdxDisk(image, viewOf(image, recording), recording, raw);
  return resources.use(
    new RecordedDisk(disk, recording, new Uint32Array(sectors), (sector, count) =>
      keepsSpace ? [0, 0] : [sector, sector + count],
    ),
  );
}

async function ours(path: string, size: number, readonly: boolean): Promise<Uint8Array> {
  using driver = await DiskDriver.open(path, { format: "vhdx", readonly }, size);
  return driver.read(0, size);
}

/** What all that read a file after a cut find there; it must be the same. */
async function contentsAfter(path: string, size: number): Promise<Uint8Array> {
  const before = readFileSync(path);
  const contents = await ours(path, size, true);
  expect(readFileSync(path).equals(before)).toBeTrue();
  const repaired = join(folder.path, "repaired.vhdx");
  copyFileSync(path, repaired);
  qemu("qemu-img", "check", "-q", "-f", "vhdx", "-r", "all", repaired);
  const scratch = join(folder.path, "cut.raw");
  expect(Buffer.compare(await contentsOf(repaired, scratch, "vhdx"), contents)).toBe(0);
  expect(Buffer.compare(await ours(path, size, false), contents)).toBe(0);
  checkImage(path, "vhdx");
  expect(Buffer.compare(await contentsOf(path, scratch, "vhdx"), contents)).toBe(0);
  return contents;
}

const CASES = [
  { mib: 6, subformat: "dynamic" },
  { mib: 3, subformat: "fixed" },
];
const { CH_VHDX_CUTS } = process.env;
const CUTS = Number(CH_VHDX_CUTS ?? 12);

describe("power is cut at any write", () => {
  test.each(CASES)(
    "$subformat",
    async ({ mib, subformat }) => {
      const random = new Random(mib);
      const path = join(folder.path, "image.vhdx");
      const options = `subformat=${subformat},block_size=1M,log_size=1M`;
      qemu("qemu-img", "create", "-q", "-f", "vhdx", "-o", options, path, `${mib}M`);
      const start = new Uint8Array(readFileSync(path));
      using resources = new DisposableStack();
      const disk = record(path, (mib * MIB) / SECTOR, subformat === "fixed", resources);
      for (let i = 0; i < 100; i++) {
        // Every other operation is on whole blocks.
        const unit = random.below(2) === 0 ? MIB / SECTOR : 1;
        const units = disk.size / unit;
        const sector = unit * random.below(units);
        const most = Math.min((disk.size - sector) / unit, unit === 1 ? 200 : 2);
        const count = unit * (1 + random.below(most));
        const what = random.below(12);
        if (what < 4) disk.write(sector, Math.min(count, 300));
        else if (what < 7) disk.zero(sector, count, what < 6);
        else if (what < 10) disk.discard(sector, count);
        else disk.flush();
      }
      disk.flush();
      const { file, moments } = disk;
      const events = file.events.slice();
      resources.dispose();
      const cutPath = join(folder.path, "cut.vhdx");
      for (let i = 0; i < CUTS; i++) {
        const at = i === 0 ? events.length : random.below(events.length + 1);
        writeCut(cutPath, start, events, at, random);
        expectContents(await contentsAfter(cutPath, mib * MIB), moments, at);
      }
    },
    10_000 * CUTS,
  );
});

test("power is cut while more of the block table is written than one log entry holds", async () => {
  const random = new Random(1);
  const path = join(folder.path, "large.vhdx");
  // Each sector of the table is for 512 blocks of 1 MiB.
  const sectors = 130;
  const stride = 512 * MIB;
  qemu("qemu-img", "create", "-q", "-f", "vhdx", "-o", "block_size=1M,log_size=1M", path, `${sectors * stride}`);
  const start = new Uint8Array(readFileSync(path));
  const opened = openAnyImage(path, { format: "vhdx" });
  const image = opened.image as VhdxImage;
  const recording = new RecordingFile(image.cachedFd);
  const { shared, metadata } = viewOf(image, recording);
  metadata.begin();
  for (let i = 0; i < sectors; i++) {
    const host = metadata.place();
    metadata.keep(host);
    metadata.table.map(i * 512, host);
  }
  const before = recording.events.length;
  metadata.writeBack();
  const events = recording.events.slice();
  expect(shared.words[3]).toBe(2);
  opened.close();
  const cutPath = join(folder.path, "cut.vhdx");
  const syncs = events.flatMap(({ kind }, i) => (kind === "sync" && i >= before ? [i] : []));
  // What was written last before something is made durable is the most of it that can be lost.
  const moments = [...syncs, ...syncs, ...syncs, events.length];
  for (const at of moments) {
    writeCut(cutPath, start, events, at, random);
    for (const readonly of [true, false]) {
      const cut = openAnyImage(cutPath, { format: "vhdx", readonly });
      const { table } = viewOf(cut.image as VhdxImage).metadata;
      const present = Array.from({ length: sectors }, (_, block) => table.state(block * 512) === 6);
      // Sectors of the first entry are all there, or none of them is.
      expect(new Set(present.slice(0, 126)).size).toBe(1);
      expect(new Set(present.slice(126)).size).toBe(1);
      if (at === events.length) expect(present.every(Boolean)).toBeTrue();
      cut.close();
    }
    checkImage(cutPath, "vhdx");
  }
}, 60_000);
