import type { Segment } from "../../../hypervisor/hypervisor.ts";
import { ByteWriter } from "../../byte-writer.ts";

/** Selectors of the boot GDT. */
const CODE_SELECTOR = 0x08;
const DATA_SELECTOR = 0x10;
const TASK_SELECTOR = 0x18;

/** Segment types (Intel SDM vol. 3A, tables 3-1 and 3-2), accessed and busy as they are after loading. */
const CODE_EXECUTE_READ = 0xb;
const DATA_READ_WRITE = 0x3;
const TSS_BUSY = 0xb;

const NEUTRAL = { base: 0, present: 1, dpl: 0, l: 0, avl: 0, unusable: 0 } as const;
/** The cached limit is in bytes whatever the granularity. */
const FLAT = { ...NEUTRAL, limit: 0xffff_ffff, db: 1, s: 1, g: 1 } as const;

/** Segments at entry: 4 GiB of flat code and data, and a task that is never switched to. */
export const BOOT_SEGMENTS: { readonly code: Segment; readonly data: Segment; readonly task: Segment } = {
  code: { ...FLAT, selector: CODE_SELECTOR, type: CODE_EXECUTE_READ },
  data: { ...FLAT, selector: DATA_SELECTOR, type: DATA_READ_WRITE },
  task: { ...NEUTRAL, selector: TASK_SELECTOR, limit: 0x67, type: TSS_BUSY, db: 0, s: 0, g: 0 },
};

export const BOOT_GDT_BYTES = 32;
export const BOOT_IDT_BYTES = 8;

/** The descriptors of these segments, in the order of their selectors. */
export function bootGdt(): Uint8Array {
  const out = new ByteWriter(BOOT_GDT_BYTES);
  out.u64(0);
  for (const segment of [BOOT_SEGMENTS.code, BOOT_SEGMENTS.data, BOOT_SEGMENTS.task]) out.u64(descriptor(segment));
  return out.finish();
}

/** An IDT without gates: interrupts are off at entry. */
export const bootIdt = (): Uint8Array => new Uint8Array(BOOT_IDT_BYTES);

/** A segment descriptor (Intel SDM vol. 3A, figure 3-8). */
function descriptor({ base, limit, type, s, dpl, present, avl, l, db, g }: Segment): bigint {
  const scaled = g === 1 ? Math.floor(limit / 4096) : limit;
  const low = (scaled & 0xffff) | (base << 16);
  const attributes = type | (s << 4) | (dpl << 5) | (present << 7) | (avl << 12) | (l << 13) | (db << 14) | (g << 15);
  const high = ((base >>> 16) & 0xff) | (attributes << 8) | (scaled & 0xf_0000) | (base & 0xff00_0000);
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
