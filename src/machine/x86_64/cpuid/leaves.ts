import type { CpuidEntry } from "../../../hypervisor/hypervisor.ts";

/** KVM_CPUID_FLAG_SIGNIFCANT_INDEX: the leaf has subleaves. */
const SIGNIFICANT_INDEX = 1;

export type Register = "eax" | "ebx" | "ecx" | "edx";
export type Registers = Pick<CpuidEntry, Register>;
type MutableEntry = { -readonly [K in keyof CpuidEntry]: CpuidEntry[K] };

const ZERO: Registers = { eax: 0, ebx: 0, ecx: 0, edx: 0 };

/** A set of CPUID leaves under change. Register values are unsigned 32-bit numbers. */
export class CpuidLeaves {
  readonly #entries: MutableEntry[];

  constructor(entries: readonly CpuidEntry[]) {
    this.#entries = entries.map((entry) => ({ ...entry }));
  }

  entries(): CpuidEntry[] {
    return this.#entries.map((entry) => ({ ...entry }));
  }

  /** The leaf, or its subleaf. */
  get(leaf: number, subleaf?: number): CpuidEntry | undefined {
    return this.#matching(leaf, subleaf)[0];
  }

  /** Changes a register of a leaf, of all its subleaves where none is named; does nothing where there is no such leaf. */
  change(leaf: number, subleaf: number | undefined, register: Register, change: (value: number) => number): void {
    for (const entry of this.#matching(leaf, subleaf)) entry[register] = change(entry[register]) >>> 0;
  }

  setBits(leaf: number, register: Register, mask: number): void {
    this.change(leaf, undefined, register, (value) => value | mask);
  }

  clearBits(leaf: number, subleaf: number | undefined, register: Register, mask: number): void {
    this.change(leaf, subleaf, register, (value) => value & ~mask);
  }

  /** Gives registers of a subleaf values, adding it where it is missing. */
  setSubleaf(leaf: number, subleaf: number, values: Partial<Registers>): void {
    const entry = this.#matching(leaf, subleaf)[0];
    if (entry !== undefined) Object.assign(entry, values);
    else this.#entries.push({ ...ZERO, function: leaf, index: subleaf, flags: SIGNIFICANT_INDEX, ...values });
  }

  /** Likewise for a leaf without subleaves. */
  setLeaf(leaf: number, values: Partial<Registers>): void {
    const entry = this.get(leaf);
    if (entry !== undefined) Object.assign(entry, values);
    else this.#entries.push({ ...ZERO, function: leaf, index: 0, flags: 0, ...values });
  }

  /** Removes all leaves in [from, to]. */
  remove(from: number, to: number): void {
    const kept = this.#entries.filter((entry) => entry.function < from || entry.function > to);
    this.#entries.splice(0, this.#entries.length, ...kept);
  }

  subleaves(leaf: number): readonly CpuidEntry[] {
    return this.#matching(leaf);
  }

  #matching(leaf: number, subleaf?: number): MutableEntry[] {
    return this.#entries.filter(
      (entry) => entry.function === leaf && (subleaf === undefined || entry.index === subleaf),
    );
  }
}
