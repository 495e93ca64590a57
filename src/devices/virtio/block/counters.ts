/** Which way a request moves data. */
export const Direction = { READ: 0, WRITE: 1, NEITHER: 2 } as const;
export type Direction = (typeof Direction)[keyof typeof Direction];

/**
 * What a queue of a block device counts of its successful reads; what it counts of writes is one place further each.
 * Latencies are in microseconds; the smallest and the largest mean nothing before the first operation.
 */
export const BlockCounter = { BYTES: 0, OPS: 2, LATENCY_MIN: 4, LATENCY_MAX: 6, LATENCY_SUM: 8 } as const;

/** The counters' names by their places. */
export const BLOCK_COUNTERS: readonly string[] = ["bytes", "ops", "latency_min", "latency_max", "latency_sum"].flatMap(
  (name) => [`read_${name}`, `write_${name}`],
);
