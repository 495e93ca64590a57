import type { VmmOptions } from "./vmm.ts";

/** A rate limit and a guest that runs into it. */
export interface RateCase {
  readonly what: string;
  /** Options of each disk. */
  readonly options: string;
  readonly group?: string;
  readonly disks: 1 | 2;
  /** What the guest does, as blkbench takes it. */
  readonly load: string;
  /** Requests that the limit lets through in a second, all disks together. */
  readonly perSecond: number;
  /** Requests that may come at once when the bucket is full. */
  readonly bucket: number;
}

const group = (keys: string): string => `id=shared,${keys}`;

export const rateCases: readonly RateCase[] = [
  {
    what: "operations of a disk",
    options: "ops_size=500,ops_refill_time=1000",
    disks: 1,
    load: "op=randread bs=4096 qd=16",
    perSecond: 500,
    bucket: 500,
  },
  {
    what: "bytes of a disk, in a bucket that one request fills",
    options: "bw_size=65536,bw_refill_time=100",
    disks: 1,
    load: "op=randwrite bs=65536 qd=4",
    perSecond: 10,
    bucket: 1,
  },
  {
    what: "operations of a group",
    options: "rate_limit_group=shared",
    group: group("ops_size=100,ops_refill_time=100"),
    disks: 2,
    load: "op=randread bs=512 qd=16",
    perSecond: 1000,
    bucket: 100,
  },
  {
    what: "bytes of a group",
    options: "rate_limit_group=shared",
    group: group("bw_size=1048576,bw_refill_time=200"),
    disks: 2,
    load: "op=randwrite bs=16384 qd=8",
    perSecond: 320,
    bucket: 64,
  },
];

/** How to run a guest into a limit. @param paths images of two disks, of at least 1 MiB */
export function rateOptions(limit: RateCase, seconds: number, paths: readonly string[]): VmmOptions {
  const disks = paths.slice(0, limit.disks).map((path) => `path=${path},image_type=raw,${limit.options}`);
  return {
    cmdline: `${limit.load} devs=${limit.disks} warm_ms=1000 seconds=${seconds}`,
    extra: ["--disk", ...disks, ...(limit.group === undefined ? [] : ["--rate-limit-group", limit.group])],
    timeoutMs: (seconds + 60) * 1000,
  };
}
