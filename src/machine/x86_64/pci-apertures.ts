import { type Gpa, gpa } from "../../memory/address.ts";
import { ECAM_BYTES_PER_BUS, type GpaRange, type PciSegment } from "../acpi/topology.ts";
import { PCI_ECAM, PCI_MMIO32 } from "./layout.ts";

/** Shares of an aperture are multiples of these. */
const MMIO32_GRANULE = 0x1000;
const MMIO64_GRANULE = 0x1_0000_0000;
/** As many as configuration space is defined for. */
export const MAX_PCI_SEGMENTS = 96;

/** What a PCI segment gets of the apertures, in proportion to the other segments. */
export interface ApertureWeights {
  readonly mmio32: number;
  readonly mmio64: number;
}

/**
 * Configuration space and apertures of each PCI segment.
 * @param weights by segment number; at most `MAX_PCI_SEGMENTS`, each at least 1
 * @throws RangeError
 */
export function pciSegments(weights: readonly ApertureWeights[], deviceArea: GpaRange): PciSegment[] {
  if (weights.length > MAX_PCI_SEGMENTS) throw new RangeError(`${weights.length} PCI segments`);
  const mmio32 = divide(
    PCI_MMIO32,
    MMIO32_GRANULE,
    weights.map((weight) => weight.mmio32),
  );
  const mmio64 = divide(
    deviceArea,
    MMIO64_GRANULE,
    weights.map((weight) => weight.mmio64),
  );
  const none: GpaRange = { base: gpa(0), length: 0 };
  return weights.map((_, segment) => ({
    ecamBase: gpa(PCI_ECAM.base + segment * ECAM_BYTES_PER_BUS),
    mmio32: mmio32[segment] ?? none,
    mmio64: mmio64[segment] ?? none,
  }));
}

/** Whole granules for each in order, in proportion to its weight; the last one takes what remains as well. */
function divide({ base, length }: GpaRange, granule: number, weights: readonly number[]): GpaRange[] {
  for (const weight of weights)
    if (!Number.isSafeInteger(weight) || weight < 1) throw new RangeError(`an aperture weight of ${weight}`);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const share = Math.floor(length / (granule * total)) * granule;
  const end = base + length;
  let at: Gpa = base;
  return weights.map((weight, i) => {
    const range = { base: at, length: i === weights.length - 1 ? end - at : share * weight };
    at = gpa(at + range.length);
    return range;
  });
}
