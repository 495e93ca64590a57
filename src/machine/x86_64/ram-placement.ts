import { type Gpa, gpa } from "../../memory/address.ts";
import { addressSpaceEnd } from "./address-space.ts";
import { HIGH_RAM, RAM_ABOVE_HOLE, RAM_HOLE } from "./layout.ts";

/** Boot RAM of one zone; a machine without zones has one. */
export interface RamZone {
  /** Bytes. */
  readonly size: number;
  /** Bytes of the pages that back it, a power of two. */
  readonly pageSize: number;
}

/** A run of RAM with one backing. */
export interface RamPiece {
  readonly gpa: Gpa;
  readonly size: number;
  /** Index of its zone. */
  readonly zone: number;
  /** Where it starts in its zone's backing file. */
  readonly fileOffset: number;
}

/** Guest RAM of a size that no machine can have. */
export class RamPlacementError extends Error {
  override readonly name = "RamPlacementError";
}

/** Below the hole the guest needs the first MiB, which belongs to firmware structures, and something above it. */
const LEAST_RAM = HIGH_RAM;

/**
 * Places zones, in their order, from address 0 up and around the 32-bit hole. A zone that does not fit below the hole goes on
 * at 4 GiB; what lies below is rounded down to its page size, so that RAM may end before the hole.
 * @param physicalAddressBits of the guest
 * @throws RamPlacementError saying what to change
 */
export function placeRam(zones: readonly RamZone[], physicalAddressBits: number): RamPiece[] {
  const pieces: RamPiece[] = [];
  const end = addressSpaceEnd(physicalAddressBits);
  let at = 0;
  zones.forEach(({ size, pageSize }, zone) => {
    checkZone(size, pageSize, end);
    let placed = 0;
    if (at < RAM_HOLE) {
      const room = Math.floor((RAM_HOLE - at) / pageSize) * pageSize;
      placed = Math.min(size, room);
      if (placed > 0) pieces.push({ gpa: gpa(at), size: placed, zone, fileOffset: 0 });
      at = placed < size ? RAM_ABOVE_HOLE : at + placed;
      if (at === RAM_HOLE) at = RAM_ABOVE_HOLE;
    }
    if (placed < size) {
      pieces.push({ gpa: gpa(at), size: size - placed, zone, fileOffset: placed });
      at += size - placed;
    }
    if (at > end) throw beyond(end);
  });
  const first = ramRuns(pieces)[0];
  if (first === undefined || first.gpa !== 0 || first.size <= LEAST_RAM)
    throw new RamPlacementError("guest RAM must be larger than 1 MiB: give --memory a larger size");
  return pieces;
}

function checkZone(size: number, pageSize: number, end: Gpa): void {
  if (!Number.isSafeInteger(size) || size > end) throw beyond(end);
  if (size <= 0) throw new RamPlacementError("guest RAM of 0 bytes: give --memory a size");
  if (size % pageSize !== 0)
    throw new RamPlacementError(
      `guest RAM of ${size} bytes is not a multiple of its page size of ${pageSize} bytes: change its size`,
    );
}

const beyond = (end: Gpa): RamPlacementError =>
  new RamPlacementError(
    `guest RAM does not fit the address space, which ends at 0x${Math.max(0, end).toString(16)}: ` +
      "give --memory a smaller size, or --cpus a larger max_phys_bits where the host allows it",
  );

/** A run of guest addresses that is RAM throughout, whatever backs its parts. */
export interface RamRun {
  readonly gpa: Gpa;
  readonly size: number;
}

/** Joins pieces that adjoin. They must be in ascending order. */
export function ramRuns(pieces: readonly RamRun[]): RamRun[] {
  const runs: RamRun[] = [];
  for (const { gpa, size } of pieces) {
    const last = runs.at(-1);
    if (last !== undefined && last.gpa + last.size === gpa) runs[runs.length - 1] = { ...last, size: last.size + size };
    else runs.push({ gpa, size });
  }
  return runs;
}

/** Where the last piece ends. */
export function ramEnd(pieces: readonly RamRun[]): Gpa {
  const last = pieces.at(-1);
  return gpa(last === undefined ? 0 : last.gpa + last.size);
}
