import { join } from "node:path";
import { runText } from "../setup/exec.ts";

/** Bytes of the disks that are read and written. */
export const DISK_BYTES = 512 << 20;
const CHUNK_BYTES = 1 << 20;
/** So large that no run gets round it. */
const EMPTY_SIZE = "64G";

/** What a disk is: a raw image, or a qcow2 one all of whose clusters are there, or none. */
export type DiskKind = "raw" | "qcow2" | "qcow2, while allocating";

/** Fills a new file with data, written just now and so in the page cache. */
export async function writeData(path: string, bytes: number): Promise<void> {
  const writer = Bun.file(path).writer();
  const chunk = new Uint8Array(CHUNK_BYTES);
  for (let at = 0; at < bytes; at += CHUNK_BYTES) {
    for (let part = 0; part < CHUNK_BYTES; part += 65536) crypto.getRandomValues(chunk.subarray(part, part + 65536));
    writer.write(chunk.slice());
    await writer.flush();
  }
  await writer.end();
}

/** The disks of a benchmark, each made once but for those that get full by use. */
export class Disks {
  readonly #folder: string;
  readonly #made = new Set<string>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** The path of a disk that a run may use. */
  async ready(kind: DiskKind): Promise<string> {
    const raw = join(this.#folder, "disk.raw");
    await this.#once(raw, () => writeData(raw, DISK_BYTES));
    if (kind === "raw") return raw;
    const path = join(this.#folder, kind === "qcow2" ? "disk.qcow2" : "empty.qcow2");
    if (kind === "qcow2")
      await this.#once(path, () => runText(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path]));
    else await runText(["qemu-img", "create", "-q", "-f", "qcow2", path, EMPTY_SIZE]);
    return path;
  }

  async #once(path: string, make: () => Promise<unknown>): Promise<void> {
    if (this.#made.has(path)) return;
    await make();
    this.#made.add(path);
  }
}
