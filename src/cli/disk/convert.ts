import { closeSync, constants, fsyncSync, ftruncateSync, openSync } from "node:fs";
import { DiskImage, type RawFile } from "../../block/disk-image.ts";
import { type ChunkSink, immediateSink, SCAN_DEPTH, scanDisk } from "../../block/disk-scan.ts";
import { imageInfo } from "../../block/image-info.ts";
import { holesOf, type KnownZeroes, knownZeroesOf, zeroesOfBoth } from "../../block/known-zeroes.ts";
import { type IoEngineKind, loadEngine } from "../../block/load-engine.ts";
import { diskOpener, openDisk } from "../../block/open-disk.ts";
import { prepareImage } from "../../block/prepare-image.ts";
import { hasBytes, SparseWriter } from "../../block/sparse-file.ts";
import { directAlignment } from "../../block/topology.ts";
import { NewFile } from "../../host/new-file.ts";

const ENGINES: readonly IoEngineKind[] = ["io_uring", "synchronous"];

/** What is to be converted to what. */
export interface Conversion {
  readonly source: string;
  readonly target: string;
  readonly to: "raw" | "qcow2";
  /** Bytes of the clusters of a new qcow2 image; undefined: what is usual. */
  readonly clusterBytes?: number | undefined;
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

/** An image that is being written. */
interface Output {
  /** Takes what is on the disk. */
  readonly sink: ChunkSink;
  finish(): void;
  /** The image, finished, to be compared. */
  contents(): { has(offset: number, bytes: Uint8Array): boolean; readonly zeroes: KnownZeroes };
}

/**
 * Writes what is on a disk into a new image, leaving zeroes out. The file gets its name when all of it is durable, and
 * verified where that was asked for. Nothing is written over.
 * @throws ConversionError, DiskImageError, SysError, the signal's reason
 */
export async function convertImage(conversion: Conversion): Promise<void> {
  const { source, target, backingFiles, verify, signal, progress, warn } = conversion;
  using resources = new DisposableStack();
  await prepareImage(source);
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
  const open = await diskOpener(image, ENGINES);
  const disk = open({ queue: 0, depth: SCAN_DEPTH, segments: 1 });
  resources.defer(() => disk.close());

  const file = resources.use(attempt(`${target} cannot be written`, () => new NewFile(target)));
  const output = await openOutput(conversion, file, image.size, resources);
  const zeroes = knownZeroesOf(image);
  const scan = async (what: "convert" | "verify", sink: ChunkSink, known: KnownZeroes): Promise<void> => {
    let done = 0;
    const count = (bytes: number): void => {
      done += bytes;
      progress(what, done, image.size);
    };
    await scanDisk(disk, sink, { size: image.size, zeroes: known, signal, progress: count });
  };
  await scan("convert", output.sink, zeroes);
  attempt(`${target} cannot be written`, () => output.finish());
  attempt(`${target} cannot be made durable`, () => fsyncSync(file.fd));
  if (verify) {
    const contents = attempt(`${target} cannot be read`, () => output.contents());
    const compare = immediateSink((offset, bytes) => {
      if (!attempt(`${target} cannot be read`, () => contents.has(offset, bytes)))
        throw new ConversionError(
          `${target} differs from ${source} within 1 MiB from byte ${offset}: convert it again`,
        );
    });
    await scan("verify", compare, zeroesOfBoth(zeroes, contents.zeroes));
  }
  attempt(`${target} cannot be created: choose another name, or remove what is there`, () => file.publish());
}

async function openOutput(
  { target, to, clusterBytes }: Conversion,
  file: NewFile,
  size: number,
  resources: DisposableStack,
): Promise<Output> {
  const problem = `${target} cannot be written`;
  if (to === "raw") {
    attempt(`${target} cannot be made ${size} bytes long`, () => ftruncateSync(file.fd, size));
    const disk = openDisk(directFile(file, resources), await loadEngine(ENGINES), SCAN_DEPTH, 1);
    resources.defer(() => disk.close());
    return {
      sink: attempted(problem, new SparseWriter(disk)),
      finish: () => undefined,
      contents: () => ({
        has: (offset, bytes) => hasBytes(file.fd, offset, bytes),
        zeroes: holesOf(file.fd, size),
      }),
    };
  }
  const { DEFAULT_CLUSTER_BYTES, Qcow2Writer } = await import("../../block/qcow2/writer.ts");
  const { openQcow2Contents } = await import("../../block/qcow2/contents.ts");
  const shape = { size, clusterBytes: clusterBytes ?? DEFAULT_CLUSTER_BYTES, backing: undefined };
  const writer = attempt(`${target} cannot be made`, () => new Qcow2Writer(file.fd, shape));
  return {
    sink: attempted(
      problem,
      immediateSink((offset, bytes) => writer.write(offset, bytes)),
    ),
    finish: () => writer.finish(),
    contents: () => resources.use(openQcow2Contents(file.path)),
  };
}

/**
 * The file past the host's page cache, where its file system has that: there is one copy less to make, and no heap of changed
 * pages to be written when all is to be made durable.
 */
function directFile({ fd: cachedFd, path }: NewFile, resources: DisposableStack): RawFile {
  const file = { cachedFd, isDevice: false, endsInZeroes: true };
  let fd: number;
  try {
    fd = resources.adopt(openSync(path, constants.O_RDWR | constants.O_DIRECT), closeSync);
  } catch {
    return { ...file, fd: cachedFd, alignment: 1 };
  }
  return { ...file, fd, alignment: directAlignment(fd) };
}

/** A sink whose errors say what could not be done. */
function attempted(problem: string, sink: ChunkSink): ChunkSink {
  return {
    get held() {
      return sink.held;
    },
    take: (tag, chunk) => attempt(problem, () => sink.take(tag, chunk)),
    wait: (block) => attempt(problem, () => sink.wait(block)),
    next: () => attempt(problem, () => sink.next()),
    stop: () => sink.stop(),
  };
}

/** @throws ConversionError whose cause is what `action` throws */
export function attempt<T>(problem: string, action: () => T): T {
  try {
    return action();
  } catch (cause) {
    throw new ConversionError(problem, { cause });
  }
}
