import { SysError } from "../host/errno.ts";
import { AllocateFlag } from "../host/fallocate.ts";
import { check, libc } from "../host/libc.ts";
import { Madvise } from "../host/mmap.ts";
import { logger } from "../threads/log.ts";
import type { BackedRegion } from "./ram.ts";

const log = logger("memory");

/** Gives pages of guest RAM that the guest does not use back to the host. The guest finds them zeroed when it uses them again. */
export class RamRelease {
  readonly #regions: readonly BackedRegion[];
  #failed = false;

  constructor(regions: readonly BackedRegion[]) {
    this.#regions = regions;
  }

  /** The largest of the units in which the host takes memory back, in bytes. */
  get largestPage(): number {
    return this.#regions.reduce((largest, { pageSize }) => Math.max(largest, pageSize), 0);
  }

  /** The host's page that holds a guest address: where it starts and how long it is; undefined outside RAM. */
  pageOf(gpa: number): { readonly start: number; readonly size: number } | undefined {
    for (const region of this.#regions) {
      const offset = gpa - region.gpa;
      if (offset >= 0 && offset < region.size)
        return { start: gpa - (offset % region.pageSize), size: region.pageSize };
    }
    return undefined;
  }

  /**
   * Releases the host's pages that lie wholly in [gpa, gpa + length). Numbers from the guest may be passed in as they are:
   * what is outside RAM is left alone. A host that does not take its memory back is said so once.
   */
  release(gpa: number, length: number): void {
    for (const { gpa: base, size, hva, fd, shared, pageSize } of this.#regions) {
      const start = roundUp(Math.max(gpa - base, 0), pageSize);
      const end = roundDown(Math.min(gpa + length - base, size), pageSize);
      if (start >= end) continue;
      try {
        if (fd !== undefined && shared)
          check(
            libc.fallocate(fd, AllocateFlag.PUNCH_HOLE | AllocateFlag.KEEP_SIZE, start, end - start),
            "punch a hole into guest RAM",
          );
        else check(libc.madvise(hva + start, end - start, Madvise.DONTNEED), "madvise guest RAM away");
      } catch (error) {
        if (!(error instanceof SysError)) throw error;
        if (!this.#failed) log.warn(`memory that the guest does not use stays with it: ${error.message}`);
        this.#failed = true;
      }
    }
  }
}

const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;
const roundDown = (value: number, unit: number): number => Math.floor(value / unit) * unit;
