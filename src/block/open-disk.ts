import { IoUringUnavailableError } from "../host/io-uring/io-uring.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { mapAnonymous, munmap } from "../host/mmap.ts";
import type { Disk } from "./disk.ts";
import type { OpenedImage, RawFile } from "./disk-image.ts";
import type { IoEngine } from "./engine.ts";
import { RawDisk } from "./raw-disk.ts";
import { SyncEngine } from "./sync-engine.ts";
import { UringEngine } from "./uring-engine.ts";

/** What moves a disk's bytes: io_uring falls back to synchronous calls where the kernel has none for us. */
export type IoEngineKind = "io_uring" | "synchronous";

const IOVEC_BYTES = 16;
/** Address space for the struct iovec of all requests under way; what is not used costs no memory. */
const MAX_IOVEC_TABLES_BYTES = 64 << 20;
/** The most requests under way at once. */
const MAX_TAGS = 1024;

/** Gives a thread its access to the image that it was made for. @throws SysError */
export type OpenQueue = (use: {
  readonly engine: IoEngineKind;
  /** Number of the queue that the thread serves. */
  readonly queue: number;
  /** Requests that the caller would like to have under way at once. */
  readonly depth: number;
  /** The most segments a request has. */
  readonly segments: number;
}) => Disk;

/** Loads what the image's format needs: code takes memory in every thread that has it. */
export async function diskOpener(image: OpenedImage): Promise<OpenQueue> {
  if (image.kind === "raw") return ({ engine, depth, segments }) => openDisk(image, engine, depth, segments);
  const { openQcow2Disk } = await import("./qcow2/qcow2-disk.ts");
  return ({ engine, queue, depth, segments }) => {
    const { fd, cachedFd, alignment } = image;
    const file = { fd, cachedFd, alignment, isDevice: false, endsInZeroes: true };
    return openQcow2Disk(image, openDisk(file, engine, depth, segments), queue);
  };
}

/**
 * A thread's access to an opened file.
 * @param depth requests that the caller would like to have under way at once
 * @param segments the most segments a request has
 * @throws SysError
 */
export function openDisk(image: RawFile, engine: IoEngineKind, depth: number, segments: number): RawDisk {
  const fitting = Math.floor(MAX_IOVEC_TABLES_BYTES / (segments * IOVEC_BYTES));
  const tags = Math.max(1, Math.min(depth, MAX_TAGS, fitting));
  const iovecs = mapAnonymous(tags * segments * IOVEC_BYTES);
  try {
    return new RawDisk(image, openEngine(engine, image, tags, iovecs), iovecs, tags, segments);
  } catch (error) {
    munmap(iovecs.address, iovecs.size);
    throw error;
  }
}

function openEngine(kind: IoEngineKind, image: RawFile, tags: number, iovecs: MemoryBlock): IoEngine {
  if (kind === "io_uring")
    try {
      return new UringEngine(tags, iovecs, image.fd === image.cachedFd);
    } catch (error) {
      if (!(error instanceof IoUringUnavailableError)) throw error;
    }
  return new SyncEngine(tags);
}
