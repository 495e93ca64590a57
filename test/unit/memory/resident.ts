import { closeSync, openSync, readSync } from "node:fs";
import { PAGE_SIZE } from "../../../src/host/mmap.ts";
import { gpa } from "../../../src/memory/address.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { type BackedRegion, GuestRam, type RamBacking } from "../../../src/memory/ram.ts";

export const plain: RamBacking = {
  shared: false,
  hugepages: false,
  prefault: false,
  reserve: false,
  thp: false,
  mergeable: false,
};
/** Two regions with a gap between them. */
export const LOW = 0x10_0000;
export const HIGH = 0x1_0000_0000;
export const LOW_PAGES = 64;
export const HIGH_PAGES = 1024;

const open: GuestRam[] = [];

/** Gives all RAM of a test back. */
export function closeRam(): void {
  for (const ram of open.splice(0)) ram.close();
}

/** RAM in which every page has something written. */
export function filledRam(backing: RamBacking = plain): readonly BackedRegion[] {
  const placement = [
    { gpa: gpa(LOW), size: LOW_PAGES * PAGE_SIZE },
    { gpa: gpa(HIGH), size: HIGH_PAGES * PAGE_SIZE },
  ];
  const ram = new GuestRam(placement, backing);
  open.push(ram);
  const memory = new GuestMemory(ram.regions);
  for (const { gpa: base, size } of ram.regions)
    for (let at = 0; at < size; at += PAGE_SIZE) memory.writeU32(base + at, 1);
  return ram.regions;
}

/** Numbers of the pages of a region that the host has taken back. */
export function missing(region: BackedRegion | undefined): number[] {
  if (region === undefined) throw new Error("no such region");
  const pagemap = openSync("/proc/self/pagemap", "r");
  const entries = new BigUint64Array(region.size / PAGE_SIZE);
  readSync(pagemap, new Uint8Array(entries.buffer), 0, entries.byteLength, (region.hva / PAGE_SIZE) * 8);
  closeSync(pagemap);
  return [...entries.entries()].filter(([, entry]) => entry >> 63n === 0n).map(([page]) => page);
}

export const pages = (first: number, count: number): number[] => Array.from({ length: count }, (_, i) => first + i);
