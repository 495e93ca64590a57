/** Feature bits that belong to the transport and the rings (VIRTIO 1.3, 6). */
export const VirtioFeature = {
  INDIRECT_DESC: 28,
  EVENT_IDX: 29,
  VERSION_1: 32,
  ACCESS_PLATFORM: 33,
  IN_ORDER: 35,
} as const;

/** A set of feature bits 0 to 63 as two words. */
export interface FeatureWords {
  readonly lo: number;
  readonly hi: number;
}

/** The set of the given bits. */
export function featureWords(bits: readonly number[]): FeatureWords {
  let lo = 0;
  let hi = 0;
  for (const bit of bits) {
    if (bit < 32) lo |= 1 << bit;
    else hi |= 1 << (bit - 32);
  }
  return { lo: lo >>> 0, hi: hi >>> 0 };
}
