import type { RamRelease } from "../../../memory/ram-release.ts";
import { BALLOON_PAGE } from "./device.ts";

interface Partial {
  /** One bit for each balloon page that the guest has given. */
  readonly given: Uint8Array;
  count: number;
}

/** Pages of the host that the guest has given some of: the host takes nothing less than a whole one back. */
export class PartialPages {
  readonly #ram: RamRelease;
  /** By the guest address of the host's page. */
  readonly #pages = new Map<number, Partial>();

  constructor(ram: RamRelease) {
    this.#ram = ram;
  }

  /** The guest gives a balloon page. The last one of a host's page releases it. */
  add(gpa: number): void {
    const page = this.#ram.pageOf(gpa);
    if (page === undefined) return;
    const { start, size } = page;
    const partial = this.#pages.get(start) ?? { given: new Uint8Array(Math.ceil(size / BALLOON_PAGE / 8)), count: 0 };
    const { at, bit } = place(gpa - start);
    if (((partial.given[at] ?? 0) & bit) !== 0) return;
    partial.given[at] = (partial.given[at] ?? 0) | bit;
    partial.count++;
    if (partial.count * BALLOON_PAGE < size) this.#pages.set(start, partial);
    else {
      this.#pages.delete(start);
      this.#ram.release(start, size);
    }
  }

  /** The guest takes a balloon page back. */
  remove(gpa: number): void {
    const page = this.#ram.pageOf(gpa);
    const partial = page && this.#pages.get(page.start);
    if (page === undefined || partial === undefined) return;
    const { at, bit } = place(gpa - page.start);
    if (((partial.given[at] ?? 0) & bit) === 0) return;
    partial.given[at] = (partial.given[at] ?? 0) & ~bit;
    partial.count--;
    if (partial.count === 0) this.#pages.delete(page.start);
  }

  /** The guest takes all pages back. */
  clear(): void {
    this.#pages.clear();
  }
}

function place(offset: number): { at: number; bit: number } {
  const index = Math.floor(offset / BALLOON_PAGE);
  return { at: index >>> 3, bit: 1 << (index & 7) };
}
