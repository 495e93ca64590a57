import { tmpdir } from "node:os";
import { join } from "node:path";
import { checksumOf } from "../../../src/block/vhdx/crc32c.ts";
import {
  HEADER_BYTES,
  HEADER_OFFSETS,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  RegionEntry,
  RegionTable,
} from "../../../src/block/vhdx/layout.ts";
import { qemu } from "../../unit/block/qemu.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { qemuImg, Template, useImage } from "../support/disk-image.ts";

const CHECKSUM = 4;

function mendChecksums(image: Buffer, wasChanged: (at: number, length: number) => boolean): void {
  const mend = (at: number, length: number): void => {
    if (!wasChanged(at, length)) return;
    const part = image.subarray(at, at + length);
    part.writeUInt32LE(checksumOf(part), CHECKSUM);
  };
  for (const at of HEADER_OFFSETS) mend(at, HEADER_BYTES);
  for (const at of REGION_TABLE_OFFSETS) mend(at, REGION_TABLE_BYTES);
}

/** Offsets of the headers, the region table, and of what that points to. */
function places(image: Buffer): readonly [number, ...number[]] {
  const [first, second] = HEADER_OFFSETS;
  const [table] = REGION_TABLE_OFFSETS;
  const entry = table + RegionTable.ENTRIES;
  const region = (i: number): number =>
    Number(image.readBigUInt64LE(entry + RegionEntry.BYTES * i + RegionEntry.FILE_OFFSET));
  const [one, two] = [region(0), region(1)];
  return [
    0,
    first,
    first + 64,
    second,
    second + 64,
    table,
    table + 8,
    entry,
    entry + 16,
    entry + 48,
    one,
    one + 8,
    one + 32,
    two,
    two + 32,
    two + 0x1_0000,
    1 << 20,
    image.length,
  ];
}

export const target: FuzzTarget = {
  what: "VHDX images with lies in them, opened and used",
  maxBytes: 256,
  open: () => {
    const create = (path: string, subformat: string): string =>
      qemuImg("create", "-q", "-f", "vhdx", "-o", `subformat=${subformat},block_size=1M,log_size=1M`, path, "2M");
    const templates = [
      new Template((path) => create(path, "dynamic"), places),
      new Template((path) => {
        create(path, "dynamic");
        qemu("qemu-io", "-f", "vhdx", "-c", "write -q -P 3 100k 20k", path);
      }, places),
    ] as const;
    const path = join(tmpdir(), "image");
    return async (input) => {
      const image = input.pick(templates);
      image.change(input, mendChecksums);
      image.write(path);
      await useImage(input, path, "vhdx", image);
    };
  },
};
