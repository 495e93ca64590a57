import { closeSync, fsyncSync, ftruncateSync, linkSync, openSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { DiskImage } from "../../block/disk-image.ts";
import { SCAN_DEPTH, scanDisk } from "../../block/disk-scan.ts";
import { imageInfo } from "../../block/image-info.ts";
import { diskOpener } from "../../block/open-disk.ts";
import { hasBytes, writeSparsely } from "../../block/sparse-file.ts";

/** What is to be converted to a raw image. */
export interface Conversion {
  readonly source: string;
  readonly target: string;
  /** Whether the source may be made of differences to other files, which it names. */
  readonly backingFiles: boolean;
  /** Read both again when it is done, and compare. */
  readonly verify: boolean;
  /** Is told what the user should know. */
  readonly warn: (text: string) => void;
  /** Ends it early. */
  readonly signal: AbortSignal;
  /** Is told what has been done of how many bytes. */
  readonly progress: (what: "convert" | "verify", done: number, all: number) => void;
}

/** A conversion that did not succeed. The message says why, and what to do; there is no new file. */
export class ConversionError extends Error {
  override readonly name = "ConversionError";
}

/**
 * Writes what is on a disk into a new raw image, with holes for zeroes. The file gets its name when all of it is durable,
 * and verified where that was asked for. Nothing is written over.
 * @throws ConversionError, DiskImageError, SysError, the signal's reason
 */
export async function convertToRaw(conversion: Conversion): Promise<void> {
  const { source, target, backingFiles, verify, signal, progress, warn } = conversion;
  using resources = new DisposableStack();
  const opened = new DiskImage({
    path: source,
    readonly: true,
    direct: false,
    format: imageInfo(source).format,
    sparse: true,
    lock: "byte-range",
    backingFiles,
    queues: 1,
  });
  resources.defer(() => opened.close());
  for (const warning of opened.warnings) warn(warning);
  const { image } = opened;
  const open = await diskOpener(image);
  const disk = open({ engine: "io_uring", queue: 0, depth: SCAN_DEPTH, segments: 1 });
  resources.defer(() => disk.close());

  const partial = `${target}.${process.pid}.partial`;
  const fd = attempt(`${target} cannot be written`, () => openSync(partial, "wx+", 0o666));
  resources.defer(() => closeSync(fd));
  resources.defer(() => unlinkSync(partial));
  const scan = async (what: "convert" | "verify", sink: (offset: number, bytes: Uint8Array) => void): Promise<void> => {
    let done = 0;
    const counted = (offset: number, bytes: Uint8Array): void => {
      sink(offset, bytes);
      done += bytes.length;
      progress(what, done, image.size);
    };
    await scanDisk(disk, image.size, counted, signal);
  };
  attempt(`${target} cannot be made ${image.size} bytes long`, () => ftruncateSync(fd, image.size));
  await scan("convert", (offset, bytes) =>
    attempt(`${target} cannot be written`, () => writeSparsely(fd, offset, bytes)),
  );
  attempt(`${target} cannot be made durable`, () => fsyncSync(fd));
  if (verify)
    await scan("verify", (offset, bytes) => {
      if (!attempt(`${target} cannot be read`, () => hasBytes(fd, offset, bytes)))
        throw new ConversionError(
          `${target} differs from ${source} within 1 MiB from byte ${offset}: convert it again`,
        );
    });
  attempt(`${target} cannot be created: choose another name, or remove what is there`, () => linkSync(partial, target));
  syncFolder(dirname(target));
}

function attempt<T>(problem: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw new ConversionError(problem, { cause });
  }
}

/** Makes the new name durable. */
function syncFolder(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
