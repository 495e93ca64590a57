import { IoUringUnavailableError } from "../host/io-uring/io-uring.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { mapAnonymous, munmap } from "../host/mmap.ts";
import type { Disk } from "./disk.ts";
import type { RawImage } from "./disk-image.ts";
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

/**
 * A thread's access to an opened image.
 * @param depth requests that the caller would like to have under way at once
 * @param segments the most segments a request has
 * @throws SysError
 */
export function openDisk(image: RawImage, engine: IoEngineKind, depth: number, segments: number): Disk {
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

function openEngine(kind: IoEngineKind, image: RawImage, tags: number, iovecs: MemoryBlock): IoEngine {
  if (kind === "io_uring")
    try {
      return new UringEngine(tags, iovecs, image.fd === image.cachedFd);
    } catch (error) {
      if (!(error instanceof IoUringUnavailableError)) throw error;
    }
  return new SyncEngine(tags);
}
