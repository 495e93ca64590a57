import { readFileSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { qemu } from "../../unit/block/qemu.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { nameDataFile } from "../support/data-file.ts";
import { qemuImg, Template, useImage } from "../support/disk-image.ts";

/** An image that is fine, and what its data file holds, where it has one. */
interface Start {
  readonly image: Template;
  readonly data?: Buffer;
}

/** The disk's last cluster may be written as a whole: of the largest size. */
const MOST_CLUSTER_BYTES = 2 << 20;
const BACKING_BYTES = 96 << 10;

const pointer = (image: Buffer, at: number): number => Number(image.readBigUInt64BE(at) & 0x00ff_ffff_ffff_fe00n);
const l2TableOf = (image: Buffer): number => pointer(image, pointer(image, 40));

/** Offsets of header, L1 table, L2 tables, refcount table and blocks, snapshots. */
function places(image: Buffer): readonly [number, ...number[]] {
  const refcounts = pointer(image, 48);
  return [
    0,
    4,
    8,
    20,
    24,
    32,
    40,
    48,
    56,
    72,
    88,
    96,
    100,
    pointer(image, 40),
    l2TableOf(image),
    refcounts,
    pointer(image, refcounts),
    pointer(image, 64),
    image.length,
  ];
}

/** Those, the header's extensions, and the first entries of an L2 table with their bits. */
function placesOfPlaced(image: Buffer): readonly [number, ...number[]] {
  const table = l2TableOf(image);
  return [...places(image), 104, 112, 120, ...Array.from({ length: 12 }, (_, i) => table + 8 * i)];
}

/** Images with extended L2 entries, with a data file, and with both. */
function placedStarts(): readonly Start[] {
  const backing = join(tmpdir(), "below");
  writeFileSync(backing, new Uint8Array(BACKING_BYTES).fill(5));
  const fill = ["write -q -P 3 10k 20k", "write -q -z 40k 8k", "write -q -P 4 50k 1k", "discard -q 12k 2k"];
  const make = (path: string, options: string, ...more: readonly string[]): void => {
    qemuImg("create", "-q", "-f", "qcow2", "-o", options, ...more, path, "128k");
    qemu("qemu-io", "-f", "qcow2", ...fill.flatMap((command) => ["-c", command]), path);
  };
  const data = join(tmpdir(), "data");
  const outside = (options: string): Start => {
    const image = new Template((path) => {
      make(path, `data_file=${data},${options}`);
      nameDataFile(path, "data");
    }, placesOfPlaced);
    return { image, data: readFileSync(data) };
  };
  return [
    {
      image: new Template((path) => {
        make(path, "extended_l2=on,cluster_size=16k", "-b", backing, "-F", "raw");
        qemuImg("snapshot", "-c", "one", path);
        qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 5 20k 1k", path);
      }, placesOfPlaced),
    },
    outside("cluster_size=512"),
    outside("extended_l2=on,cluster_size=16k,data_file_raw=on"),
  ];
}

export const target: FuzzTarget = {
  what: "qcow2 images with lies in them, opened and used",
  maxBytes: 256,
  seeds: () =>
    [0, 1, 2, 3, 4, 5].map((i) => Uint8Array.of(i, 0, 3, 0, 1, 5, 0, 1, 2, 9, 0, 2, 9, 1, 3, 0, 1, 5, 5, 0, 1, 3)),
  open: () => {
    const starts: readonly [Start, ...Start[]] = [
      {
        image: new Template(
          (path) => qemuImg("create", "-q", "-f", "qcow2", "-o", "cluster_size=512", path, "64k"),
          places,
        ),
      },
      {
        image: new Template((path) => {
          qemuImg("create", "-q", "-f", "qcow2", "-o", "compat=0.10,cluster_size=512", path, "1M");
          qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 3 100k 20k", "-c", "write -q -z 300k 64k", path);
          qemuImg("snapshot", "-c", "one", path);
          qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 5 110k 4k", path);
        }, places),
      },
      {
        image: new Template((path) => {
          const plain = `${path}.plain`;
          qemuImg("create", "-q", "-f", "raw", plain, "128k");
          qemu("qemu-io", "-f", "raw", "-c", "write -q -P 3 10k 60k", plain);
          qemuImg("convert", "-c", "-O", "qcow2", "-o", "cluster_size=4k,refcount_bits=1", plain, path);
        }, places),
      },
      ...placedStarts(),
    ];
    const path = join(tmpdir(), "image");
    const dataPath = join(tmpdir(), "data");
    return async (input) => {
      const { image, data } = input.pick(starts);
      image.change(input, () => undefined);
      image.write(path);
      if (data !== undefined) writeFileSync(dataPath, data);
      const use = await useImage(input, path, "qcow2", image);
      if (use === undefined || data === undefined) return;
      if (use.readonly && !readFileSync(dataPath).equals(data)) throw new Error("a read-only data file has changed");
      const { size } = statSync(dataPath);
      if (size > Math.max(data.length, use.diskBytes + MOST_CLUSTER_BYTES))
        throw new Error(`the data file of a disk of ${use.diskBytes} bytes has grown to ${size} bytes`);
    };
  },
};
