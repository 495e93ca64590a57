import type { DescriptorChain } from "../queue/descriptor-chain.ts";

/** What the guest tells of its memory, by tag (VIRTIO 1.4, 5.5.6.4): bytes of memory, else how often something happened. */
const TAGS = [
  "swap_in",
  "swap_out",
  "major_faults",
  "minor_faults",
  "free_memory",
  "total_memory",
  "available_memory",
  "disk_caches",
  "hugetlb_allocations",
  "hugetlb_failures",
  "oom_kills",
  "allocation_stalls",
  "asynchronous_scans",
  "direct_scans",
  "asynchronous_reclaims",
  "direct_reclaims",
] as const;

/** The counters of the statistics queue: how often the guest has told them, then the statistics. */
export const STATISTICS: readonly string[] = ["reports", ...TAGS];
const REPORTS = 0;
const FIRST_TAG = 1;

/** struct virtio_balloon_stat, packed: tag u16, val u64. */
const ENTRY_BYTES = 10;
/** More than there are tags, in case of new ones; what a driver sends beyond is not looked at. */
const MAX_ENTRIES = 64;

/** Takes the statistics out of a driver's buffer. Those that it does not tell keep their values. */
export function readStatistics(chain: DescriptorChain, counters: Float64Array): void {
  const entries = Math.min(Math.floor(chain.readableBytes / ENTRY_BYTES), MAX_ENTRIES);
  for (let i = 0; i < entries; i++) {
    const at = i * ENTRY_BYTES;
    const tag = chain.readU8(at) | (chain.readU8(at + 1) << 8);
    if (tag < TAGS.length) counters[FIRST_TAG + tag] = chain.readU64(at + 2);
  }
  counters[REPORTS] = (counters[REPORTS] ?? 0) + 1;
}
