import type { Metrics } from "./metrics-text.ts";

/** Counters of something, by their names here. What is not counted is missing. */
export type Counters = Readonly<Partial<Record<string, number>>>;

/** Something that counts. */
export interface Counted {
  /** What tells it from the others of its kind. */
  readonly id: string;
  readonly counters: Counters;
}

/** What a VMM and its VM had counted at one time. */
export interface Sample {
  /** Milliseconds of a clock that does not jump. */
  readonly atMs: number;
  readonly version: string;
  readonly pid: number;
  /** As the metrics spell it; undefined without a VM. */
  readonly state: string | undefined;
  readonly upSeconds: number;
  /** RAM of the guest; 0 without a VM. */
  readonly guestBytes: number;
  readonly residentBytes: number;
  readonly openFds: number;
  readonly threadCount: number;
  readonly vcpus: readonly Counted[];
  readonly disks: readonly Counted[];
  readonly nets: readonly Counted[];
  /** The VMM's threads other than vCPUs. */
  readonly threads: readonly Counted[];
  /** What a device uses of the host, by its id. */
  readonly uses: ReadonlyMap<string, string>;
}

/** What is not in the metrics. */
export interface SampleContext {
  readonly atMs: number;
  /** Seconds since 1970 UTC. */
  readonly nowSeconds: number;
  readonly version: string;
  readonly pid: number;
  /** Seconds that threads were ready and had no processor, by name; empty where /proc does not tell. */
  readonly waits: ReadonlyMap<string, number>;
  readonly uses: ReadonlyMap<string, string>;
}

const PREFIX = "cloud_hypervisor_";
const VCPU_THREAD = /^vcpu(\d+)$/;

const VCPU_METRICS = {
  exits: "vcpu_exits",
  ports: "vcpu_io_exits",
  mmio: "vcpu_mmio_exits",
  halts: "vcpu_halt_exits",
  interrupts: "vcpu_interrupts",
};
const DISK_METRICS = {
  readBytes: "block_read_bytes",
  writtenBytes: "block_written_bytes",
  reads: "block_reads",
  writes: "block_writes",
  readSeconds: "block_read_seconds",
  writeSeconds: "block_write_seconds",
};
const NET_METRICS = {
  receivedBytes: "net_received_bytes",
  sentBytes: "net_sent_bytes",
  receivedFrames: "net_received_frames",
  sentFrames: "net_sent_frames",
};

/** The counters of all things of a kind, which `label` tells apart. */
function counted(metrics: Metrics, label: string, names: Readonly<Record<string, string>>): Map<string, Counters> {
  const things = new Map<string, Record<string, number>>();
  for (const [counter, metric] of Object.entries(names))
    for (const { labels, value } of metrics.get(`${PREFIX}${metric}_total`) ?? []) {
      const id = labels[label] ?? "";
      const counters = things.get(id) ?? {};
      counters[counter] = value;
      things.set(id, counters);
    }
  return things;
}

const listed = (things: ReadonlyMap<string, Counters>): Counted[] =>
  Array.from(things, ([id, counters]) => ({ id, counters }));

/** What the metrics of a VMM say. */
export function sampleOf(metrics: Metrics, { waits, nowSeconds, ...context }: SampleContext): Sample {
  const single = (name: string): number => metrics.get(name)?.[0]?.value ?? 0;
  const state = metrics.get(`${PREFIX}vm_state`)?.find(({ value }) => value === 1)?.labels["state"];
  const threads = counted(metrics, "thread", { cpuSeconds: "thread_cpu_seconds" });
  const exits = counted(metrics, "vcpu", VCPU_METRICS);
  // The threads are kept for the next boot, so they alone do not make a vCPU.
  const booted = state === "running" || state === "paused" || state === "breakpoint";
  const indices = [...threads.keys()].flatMap((name) => VCPU_THREAD.exec(name)?.[1] ?? []);
  const vcpus = (booted ? indices : []).toSorted((a, b) => Number(a) - Number(b));
  return {
    ...context,
    state,
    upSeconds: Math.max(0, nowSeconds - single("process_start_time_seconds")),
    guestBytes: single(`${PREFIX}vm_memory_bytes`),
    residentBytes: single("process_resident_memory_bytes"),
    openFds: single("process_open_fds"),
    threadCount: single("process_threads"),
    vcpus: vcpus.map((id) => {
      const name = `vcpu${id}`;
      const waitSeconds = waits.get(name);
      return {
        id,
        counters: { ...exits.get(id), ...threads.get(name), ...(waitSeconds !== undefined && { waitSeconds }) },
      };
    }),
    disks: listed(counted(metrics, "device", DISK_METRICS)),
    nets: listed(counted(metrics, "device", NET_METRICS)),
    threads: listed(threads).filter(({ id }) => !VCPU_THREAD.test(id)),
  };
}
