import { rmSync } from "node:fs";
import { join } from "node:path";
import { DiskImage } from "../../src/block/disk-image.ts";
import { vmmPath } from "../payload/vmm.ts";
import { runText } from "../setup/exec.ts";
import { writeData } from "./block-disks.ts";
import { type Figure, median } from "./figure.ts";

const LARGE = "100G";
const OPEN_MS = 10;
const CONVERTED_BYTES = 2 ** 31;
const CONVERT_RATIO = 1.2;

/** Opening a large qcow2 image all of whose tables are there, and closing it. */
export async function openFigure(folder: string, rounds: number): Promise<Figure> {
  const path = join(folder, "large.qcow2");
  await runText(["qemu-img", "create", "-q", "-f", "qcow2", "-o", "preallocation=metadata", path, LARGE]);
  const times: number[] = [];
  for (let round = 0; round <= rounds; round++) {
    const start = performance.now();
    const image = new DiskImage({
      path,
      readonly: false,
      direct: false,
      format: "qcow2",
      sparse: true,
      lock: "byte-range",
      backingFiles: false,
      queues: 1,
    });
    times.push(performance.now() - start);
    image.close();
  }
  rmSync(path);
  return {
    what: `open a qcow2 image of ${LARGE}iB, all tables there`,
    unit: "ms",
    ours: median(times.slice(1)),
    others: { "the first time in a process": times[0] ?? Number.NaN },
    goal: { text: `under ${OPEN_MS} ms`, reached: Math.max(...times) < OPEN_MS },
  };
}

/**
 * Converting qcow2 to raw, a process each, in turn. Ours ends with an fsync, qemu-img does not: what it has written is partly still
 * to be written to the disk when it ends. With a sync of its file after it, both come to the same.
 */
export async function convertFigure(folder: string, rounds: number): Promise<Figure> {
  const raw = join(folder, "convert.raw");
  const source = join(folder, "convert.qcow2");
  const target = join(folder, "converted.raw");
  await writeData(raw, CONVERTED_BYTES);
  await runText(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, source]);
  rmSync(raw);
  const time = async (...commands: readonly (readonly [string, ...string[]])[]): Promise<number> => {
    // What earlier files have left to do, such as giving their space back, would count as this one's.
    await runText(["sync", "-f", folder]);
    const start = performance.now();
    for (const command of commands) await runText(command);
    const ms = performance.now() - start;
    rmSync(target);
    return ms / 1000;
  };
  const qemuImg = ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", source, target] as const;
  const [ours, qemu, durable]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < rounds; round++) {
    ours.push(await time([vmmPath(), "disk", "convert", source, target]));
    qemu.push(await time(qemuImg));
    durable.push(await time(qemuImg, ["sync", target]));
  }
  rmSync(source);
  return {
    what: "convert qcow2 to raw, 2 GiB of data, and make it durable",
    unit: "s",
    ours: median(ours),
    others: { "qemu-img convert, which does not flush": median(qemu), "qemu-img convert; sync FILE": median(durable) },
    goal: {
      text: `at most ${CONVERT_RATIO} times qemu-img's time`,
      reached: median(ours) <= CONVERT_RATIO * median(qemu),
    },
  };
}
