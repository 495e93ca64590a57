import { BLOCK_COUNTERS, BlockCounter, Direction } from "../devices/virtio/block/counters.ts";
import { type VirtioWiring, virtioDevice } from "../machine/pci-devices.ts";

/** A device's counters by name, all queues together; 64-bit values that a number cannot hold are bigints. */
export type DeviceCounters = Readonly<Record<string, number | bigint>>;

/** A latency before there is one: clients know 2^64 - 1, and of the mean what is left of it after a division. */
const NO_LATENCY = 0xffff_ffff_ffff_ffffn;
const NO_MEAN_LATENCY = 1844674407370955;

/**
 * What a device counts.
 * @param queues the counters of each of its queues
 * @returns undefined for a device that counts nothing
 */
export function deviceCounters(wiring: VirtioWiring, queues: readonly Float64Array[]): DeviceCounters | undefined {
  return wiring.kind === "block" ? blockCounters(queues) : deviceSums(wiring, queues);
}

/** The sums over a device's queues of all that they count, by the device's own names. */
export function deviceSums(
  wiring: VirtioWiring,
  queues: readonly Float64Array[],
): Readonly<Record<string, number>> | undefined {
  const { counters } = virtioDevice(wiring);
  return counters && Object.fromEntries(counters.map((name, place) => [name, sum(queues, place)]));
}

/** A block device's ten counters (virtio.md 3.14). Latencies are in microseconds. */
export function blockCounters(queues: readonly Float64Array[]): DeviceCounters {
  const { READ, WRITE } = Direction;
  const named = (counter: number): DeviceCounters =>
    Object.fromEntries([READ, WRITE].map((of) => [BLOCK_COUNTERS[counter + of], sum(queues, counter + of)]));
  return {
    ...named(BlockCounter.BYTES),
    ...named(BlockCounter.OPS),
    ...latencies("read", queues, READ),
    ...latencies("write", queues, WRITE),
  };
}

function latencies(name: string, queues: readonly Float64Array[], of: Direction): DeviceCounters {
  const used = queues.filter((counters) => (counters[BlockCounter.OPS + of] ?? 0) > 0);
  const all = (counter: number): number[] => used.map((counters) => counters[counter + of] ?? 0);
  const none = used.length === 0;
  return {
    [`${name}_latency_min`]: none ? NO_LATENCY : Math.min(...all(BlockCounter.LATENCY_MIN)),
    [`${name}_latency_max`]: none ? NO_LATENCY : Math.max(...all(BlockCounter.LATENCY_MAX)),
    [`${name}_latency_avg`]: none
      ? NO_MEAN_LATENCY
      : Math.floor(sum(used, BlockCounter.LATENCY_SUM + of) / sum(used, BlockCounter.OPS + of)),
  };
}

const sum = (queues: readonly Float64Array[], place: number): number =>
  queues.reduce((total, counters) => total + (counters[place] ?? 0), 0);
