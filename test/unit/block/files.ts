import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DiskImage, type DiskImageOptions, type RawImage } from "../../../src/block/disk-image.ts";
import { placedCode } from "../../../src/block/qcow2/placed-code.ts";
import { qcow2RepairCode } from "../../../src/block/qcow2/repair-code.ts";
import { vhdxCode } from "../../../src/block/vhdx/code.ts";

/** The file system in memory that Linux has for shared memory. */
const MEMORY = "/dev/shm";

/** A folder for the files of a test, and what its teardown removes. */
export class TestFolder {
  readonly path: string;

  /** @param where in memory, what is made durable there costs no time; but there is no direct I/O everywhere */
  constructor(where: "disk" | "memory" = "disk") {
    const parent = where === "memory" && existsSync(MEMORY) ? MEMORY : tmpdir();
    this.path = mkdtempSync(join(parent, "block-"));
  }

  file(name: string, contents: string | Uint8Array): string {
    const path = join(this.path, name);
    writeFileSync(path, contents);
    return path;
  }

  remove(): void {
    rmSync(this.path, { recursive: true });
  }
}

// Tests open images without waiting.
await vhdxCode.load();
await qcow2RepairCode.load();
await placedCode.load();

/** Opens an image, writable unless told otherwise. */
export function openAnyImage(path: string, options: Partial<DiskImageOptions>): DiskImage {
  return new DiskImage({
    path,
    readonly: false,
    direct: false,
    format: undefined,
    sparse: true,
    lock: "byte-range",
    backingFiles: false,
    queues: 1,
    ...options,
  });
}

/** A raw image, open. */
export type RawDiskImage = DiskImage & { readonly image: RawImage };

const isRaw = (opened: DiskImage): opened is RawDiskImage => opened.image.kind === "raw";

/** Opens an image as a writable raw one, unless told otherwise. */
export function openImage(path: string, options: Partial<DiskImageOptions> = {}): RawDiskImage {
  const opened = openAnyImage(path, { format: "raw", ...options });
  if (!isRaw(opened)) throw new Error(`${path} is no raw image`);
  return opened;
}

/** Why there is no direct I/O in the folder; undefined where there is. */
export function noDirectIo(folder: TestFolder): string | undefined {
  const path = folder.file("direct-probe", new Uint8Array(4096));
  try {
    openImage(path, { direct: true }).close();
    return undefined;
  } catch (error) {
    const why = String(error);
    console.warn(`tests of direct I/O are skipped: ${why}`);
    return why;
  }
}
