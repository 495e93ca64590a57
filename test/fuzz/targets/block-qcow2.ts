import { fstatSync, ftruncateSync, readFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { diskOpener } from "../../../src/block/open-disk.ts";
import { checkQcow2 } from "../../../src/block/qcow2/check.ts";
import { type Qcow2Image, viewOf } from "../../../src/block/qcow2/image.ts";
import { readHeader } from "../../../src/block/qcow2/open.ts";
import { Qcow2Shared, WAYS, Word } from "../../../src/block/qcow2/shared.ts";
import { blockAt } from "../../../src/threads/block-ref.ts";
import { openAnyImage } from "../../unit/block/files.ts";
import { qemu } from "../../unit/block/qemu.ts";
import type { FuzzRun, FuzzTarget } from "../engine/target.ts";
import { blockGuest } from "../support/block-guest.ts";
import { qemuImg } from "../support/disk-image.ts";

/** Images with data, zeroes, and clusters that a snapshot shares: plain, with subclusters, and with a data file. */
const MAKES: readonly [Make, ...Make[]] = [
  (path) => {
    fill(path, "cluster_size=512", "256k");
    qemuImg("snapshot", "-c", "one", path);
    qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 5 20k 6k", path);
  },
  (path) => {
    fill(path, "extended_l2=on,cluster_size=16k", "128k");
    qemuImg("snapshot", "-c", "one", path);
    qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 5 20k 6k", path);
  },
  (path) => fill(path, `cluster_size=512,data_file=${path}.data`, "128k"),
];

type Make = (path: string) => void;

function fill(path: string, options: string, size: string): void {
  qemuImg("create", "-q", "-f", "qcow2", "-o", options, path, size);
  qemu("qemu-io", "-f", "qcow2", "-c", "write -q -P 3 10k 20k", "-c", "write -q -z 60k 8k", path);
}

/** The image with a cache of one set, which a few L2 tables fill. */
function withSmallCache(image: Qcow2Image): Qcow2Image {
  const capacity = { ...image.capacity, slots: WAYS };
  const shared = Qcow2Shared.allocate(capacity);
  const from = new Qcow2Shared(image.shared, image.capacity);
  const to = new Qcow2Shared(shared, capacity);
  to.words.set(from.words);
  to.l1.u8.set(from.l1.u8);
  to.refcountTable.u8.set(from.refcountTable.u8);
  return { ...image, capacity, shared };
}

/** Writes back what the image's cache holds, as at the end of a VM. */
function writeBack(image: Qcow2Image): void {
  const { shared, metadata } = viewOf(image);
  if (shared.words[Word.BROKEN] !== 0) throw new Error("the image was found corrupt");
  for (let round = 0; round < 2 && metadata.isDirty; round++) {
    metadata.writeBack();
    metadata.givenUp.reclaim(image.punch);
  }
}

/** A file that is open for writing, and can be put right again. */
function keeper(fd: number, path: string): () => void {
  const original = readFileSync(path);
  return () => {
    ftruncateSync(fd, 0);
    writeSync(fd, original, 0, original.length, 0);
  };
}

/** @returns a run on the image that `make` makes */
async function runOn(make: Make, path: string): Promise<FuzzRun> {
  make(path);
  const { image: opened } = openAnyImage(path, { format: "qcow2", backingFiles: true });
  if (opened.kind !== "qcow2") throw new Error(`${path} is no qcow2 image`);
  const image = withSmallCache(opened);
  const { fd, data } = image;
  const restore = keeper(fd, path);
  const restoreData = data === undefined ? undefined : keeper(data.fd, `${path}.data`);
  const dataBytes = data === undefined ? 0 : fstatSync(data.fd).size;
  const shared = blockAt(image.shared).u8;
  const before = shared.slice();
  const guest = blockGuest(image, await diskOpener(image, ["synchronous"]), () => {
    restore();
    restoreData?.();
    shared.set(before);
  });
  return async (input) => {
    guest.play(input);
    writeBack(image);
    const fileSize = fstatSync(fd).size;
    const { corruptions, leaks, examples } = await checkQcow2(
      { path, fd, fileSize, header: readHeader(path, fd, fileSize) },
      { signal: new AbortController().signal, progress: () => undefined },
    );
    if (corruptions + leaks > 0) throw new Error(`the image is damaged: ${examples.join("; ")}`);
    if (data !== undefined && fstatSync(data.fd).size !== dataBytes) throw new Error("the data file has grown");
  };
}

export const target: FuzzTarget = {
  what: "the queue of the block device, over qcow2 images with a small cache, which are checked afterwards",
  maxBytes: 512,
  open: async () => {
    const [first, ...others] = await Promise.all(MAKES.map((make, i) => runOn(make, join(tmpdir(), `disk${i}`))));
    if (first === undefined) throw new RangeError("no images");
    const runs = [first, ...others] as const;
    return (input) => input.pick(runs)(input);
  },
};
