import { iovec } from "../host/iovec.ts";
import { mapAnonymous, munmap } from "../host/mmap.ts";
import type { Disk } from "./disk.ts";
import type { OpenedImage, RawFile } from "./disk-image.ts";
import { type IoEngineKind, loadEngine, type OpenEngine } from "./load-engine.ts";
import { RawDisk } from "./raw-disk.ts";

/** Address space for the struct iovec of all requests under way; what is not used costs no memory. */
const MAX_IOVEC_TABLES_BYTES = 64 << 20;
/** The most requests under way at once. */
const MAX_TAGS = 1024;

/** Gives a thread its access to the image that it was made for. @throws SysError */
export type OpenQueue = (use: {
  /** Number of the queue that the thread serves. */
  readonly queue: number;
  /** Requests that the caller would like to have under way at once. */
  readonly depth: number;
  /** The most segments a request has. */
  readonly segments: number;
}) => Disk;

/**
 * Loads what the image's format and its engine need: code takes memory in every thread that has it.
 * @param engines kinds of engine, from best to plainest: the first that the kernel has is used
 * @param queues how many queues the thread will open. Their disks wait together: `sharedEngine`
 */
export async function diskOpener(image: OpenedImage, engines: readonly IoEngineKind[], queues = 1): Promise<OpenQueue> {
  const own = await loadEngine(engines);
  const engine = queues === 1 ? own : (await import("./shared-engine.ts")).sharedEngine(own, queues);
  if (image.kind === "raw") return ({ depth, segments }) => openDisk(image, engine, depth, segments);
  const { fd, cachedFd, alignment } = image.kind === "qcow2" ? (image.data ?? image) : image;
  const file = { fd, cachedFd, alignment, isDevice: false, endsInZeroes: true };
  if (image.kind === "vhdx") {
    const { openVhdxDisk } = await import("./vhdx/vhdx-disk.ts");
    return ({ depth, segments }) => openVhdxDisk(image, openDisk(file, engine, depth, segments));
  }
  const [{ openQcow2Disk }, { prepareParts }, { OPERATIONS_PER_REQUEST }] = await Promise.all([
    import("./qcow2/qcow2-disk.ts"),
    import("./qcow2/image.ts"),
    import("./split-requests.ts"),
  ]);
  await prepareParts(image);
  return ({ queue, depth, segments }) =>
    openQcow2Disk(image, openDisk(file, engine, depth, segments, OPERATIONS_PER_REQUEST), queue);
}

/**
 * A thread's access to an opened file.
 * @param depth requests that the caller would like to have under way at once
 * @param segments the most segments a request has
 * @param share tags that are wanted for each request
 * @throws SysError
 */
export function openDisk(image: RawFile, engine: OpenEngine, depth: number, segments: number, share = 1): RawDisk {
  const fitting = Math.floor(MAX_IOVEC_TABLES_BYTES / (segments * iovec.size));
  const tags = share * Math.max(1, Math.min(depth, MAX_TAGS, Math.floor(fitting / share)));
  const iovecs = mapAnonymous(tags * segments * iovec.size);
  try {
    return new RawDisk(image, engine(tags, image.fd === image.cachedFd), iovecs, tags, segments);
  } catch (error) {
    munmap(iovecs.address, iovecs.size);
    throw error;
  }
}
