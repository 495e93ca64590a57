import { MapFlag, mapOver, mmap, Prot } from "../../../src/host/mmap.ts";
import { gpa, hva } from "../../../src/memory/address.ts";
import { GuestMemory, type RamRegion } from "../../../src/memory/guest-memory.ts";
import type { BackedRegion } from "../../../src/memory/ram.ts";

const GUARD_BYTES = 0x1_0000;
const PAGE_BYTES = 4096;

/** Memory between pages that nobody may touch: an access beside it ends the process. @returns its address */
export function mapGuarded(size: number): number {
  const flags = MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE;
  const start = mmap({ size: size + 2 * GUARD_BYTES, prot: Prot.NONE, flags });
  mapOver(start + GUARD_BYTES, size);
  return start + GUARD_BYTES;
}

/** Guest RAM of several regions, each between guard pages. */
export class GuardedMemory {
  readonly regions: readonly [RamRegion, ...RamRegion[]];
  readonly memory: GuestMemory;
  readonly #bytes: readonly Uint8Array[];

  /** @param first bytes of the region at 1 MiB @param second of that at 4 GiB; multiples of 4096 */
  constructor(first = 0x1_0000, second = 0x4000) {
    this.regions = [region(0x10_0000, first), region(0x1_0000_0000, second)];
    this.memory = new GuestMemory(this.regions);
    this.#bytes = this.regions.map(({ gpa, size }) => this.memory.block(gpa, size).u8);
  }

  /** The regions as the owner of RAM has them. */
  get backed(): readonly BackedRegion[] {
    return this.regions.map((each) => ({ ...each, fd: undefined, shared: false, pageSize: PAGE_BYTES }));
  }

  clear(): void {
    for (const bytes of this.#bytes) bytes.fill(0);
  }

  /** Writes as a guest does: what is outside RAM is lost. */
  poke(at: number, bytes: Uint8Array): void {
    const index = this.regions.findIndex(({ gpa, size }) => at >= gpa && at + bytes.length <= gpa + size);
    const { gpa = 0 } = this.regions[index] ?? {};
    this.#bytes[index]?.set(bytes, at - gpa);
  }
}

const region = (at: number, size: number): RamRegion => ({ gpa: gpa(at), size, hva: hva(mapGuarded(size)) });
