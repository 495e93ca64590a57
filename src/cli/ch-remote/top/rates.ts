import type { Counted, Sample } from "./sample.ts";

/** What something did a second, by counter. What is not known, or was not counted twice, is missing. */
export type Rates = Readonly<Partial<Record<string, number>>>;

export interface Rated {
  readonly id: string;
  readonly rates: Rates;
}

/** What there is to show: what is so now, and what happened a second since the sample before. */
export interface View {
  readonly now: Sample;
  readonly vcpus: readonly Rated[];
  readonly disks: readonly Rated[];
  readonly nets: readonly Rated[];
  readonly threads: readonly Rated[];
  /** The guest began anew since the sample before: its counters did. */
  readonly restarted: boolean;
}

function ratesOf(now: readonly Counted[], before: readonly Counted[], seconds: number): Rated[] {
  const earlier = new Map(before.map(({ id, counters }) => [id, counters]));
  return now.map(({ id, counters }) => {
    const rates: Record<string, number> = {};
    for (const [name, value = 0] of Object.entries(counters)) {
      const was = earlier.get(id)?.[name];
      if (was !== undefined && value >= was && seconds > 0) rates[name] = (value - was) / seconds;
    }
    return { id, rates };
  });
}

/** Whether a counter that begins at 0 when a VM boots is lower than it was. */
function wentBack(now: readonly Counted[], before: readonly Counted[]): boolean {
  const earlier = new Map(before.map(({ id, counters }) => [id, counters["exits"]]));
  return now.some(({ id, counters }) => (counters["exits"] ?? Number.POSITIVE_INFINITY) < (earlier.get(id) ?? 0));
}

/** @param before the sample before; without one there are no rates */
export function viewOf(now: Sample, before?: Sample): View {
  const seconds = before === undefined ? 0 : (now.atMs - before.atMs) / 1000;
  return {
    now,
    vcpus: ratesOf(now.vcpus, before?.vcpus ?? [], seconds),
    disks: ratesOf(now.disks, before?.disks ?? [], seconds),
    nets: ratesOf(now.nets, before?.nets ?? [], seconds),
    threads: ratesOf(now.threads, before?.threads ?? [], seconds),
    restarted: before !== undefined && wentBack(now.vcpus, before.vcpus),
  };
}
