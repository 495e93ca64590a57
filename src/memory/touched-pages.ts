import { libc } from "../host/libc.ts";
import { mapAnonymous, munmap, PAGE_SIZE } from "../host/mmap.ts";
import { cString } from "../host/scratch.ts";
import type { BackedRegion } from "./ram.ts";

/** O_RDONLY | O_CLOEXEC. */
const READ = 0o2000000;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
/** Bytes of a page's entry in pagemap (proc_pid_pagemap(5)). */
const ENTRY_BYTES = 8;
/** Pages looked at with one system call. */
const BATCH_PAGES = 8192;
/** Bits of an entry's upper half: the page is there, or on a swap device. */
const PRESENT_OR_SWAPPED = 0xc000_0000;

/** Bytes of a region that somebody may have written to. */
export interface TouchedRun {
  /** In the region. */
  readonly offset: number;
  readonly length: number;
}

/**
 * Finds what of a region has been touched without touching the rest, which the host would have to provide then. What is left
 * out reads as zeroes. Nobody may touch more meanwhile.
 */
export function touchedRuns(region: BackedRegion): Iterable<TouchedRun> {
  // Another process that maps the same file may have written what this one never saw. Files of huge pages cannot be asked.
  if (region.fd !== undefined && region.shared && region.pageSize === PAGE_SIZE) return dataOf(region.fd, region.size);
  return presentRuns(region);
}

function* dataOf(fd: number, size: number): Iterable<TouchedRun> {
  for (let end = 0; end < size; ) {
    const offset = libc.lseek(fd, end, SEEK_DATA);
    if (offset < 0 || offset >= size) return;
    const hole = libc.lseek(fd, offset, SEEK_HOLE);
    end = hole < 0 ? size : Math.min(hole, size);
    yield { offset, length: end - offset };
  }
}

function* presentRuns({ hva, size }: BackedRegion): Iterable<TouchedRun> {
  const fd = libc.open(cString("/proc/self/pagemap"), READ, 0);
  const entries = mapAnonymous(BATCH_PAGES * ENTRY_BYTES);
  try {
    for (let from = 0; from < size; from += BATCH_PAGES * PAGE_SIZE) {
      const bytes = Math.min(size - from, BATCH_PAGES * PAGE_SIZE);
      const wanted = (bytes / PAGE_SIZE) * ENTRY_BYTES;
      const got = fd < 0 ? -1 : libc.pread(fd, entries.address, wanted, ((hva + from) / PAGE_SIZE) * ENTRY_BYTES);
      // Where the kernel does not say, all counts as touched.
      if (got !== wanted) yield { offset: from, length: bytes };
      else yield* runsIn(entries.u32, from, bytes / PAGE_SIZE);
    }
  } finally {
    munmap(entries.address, entries.size);
    if (fd >= 0) libc.close(fd);
  }
}

function* runsIn(entries: Uint32Array, from: number, pages: number): Iterable<TouchedRun> {
  let start = -1;
  for (let page = 0; page <= pages; page++) {
    const isTouched = page < pages && ((entries[2 * page + 1] ?? 0) & PRESENT_OR_SWAPPED) !== 0;
    if (isTouched && start < 0) start = page;
    if (isTouched || start < 0) continue;
    yield { offset: from + start * PAGE_SIZE, length: (page - start) * PAGE_SIZE };
    start = -1;
  }
}
