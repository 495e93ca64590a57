import type { VmState } from "../../vmm/control/state.ts";
import type { VmMetrics } from "../../vmm/control/vm-metrics.ts";
import type { MetricFamily, Sample } from "./exposition.ts";
import type { ProcessNumbers } from "./process-numbers.ts";

const PREFIX = "cloud_hypervisor_";

const STATES: readonly VmState[] = ["Created", "Running", "Paused", "Shutdown", "BreakPoint"];

/** What a device or a vCPU counts, and how it is told. */
interface Counter {
  /** Its name there. */
  readonly counter: string;
  /** Of the metric, less prefix and `_total`. */
  readonly metric: string;
  readonly help: string;
  /** What one is in the metric's unit. */
  readonly unit?: number;
}

const US = 1e-6;

const DEVICE_COUNTERS: readonly (Counter & { readonly kind: string })[] = [
  {
    kind: "block",
    counter: "read_bytes",
    metric: "block_read_bytes",
    help: "Bytes that the guest read from the disk.",
  },
  {
    kind: "block",
    counter: "write_bytes",
    metric: "block_written_bytes",
    help: "Bytes that the guest wrote to the disk.",
  },
  { kind: "block", counter: "read_ops", metric: "block_reads", help: "Reads of the guest that succeeded." },
  { kind: "block", counter: "write_ops", metric: "block_writes", help: "Writes of the guest that succeeded." },
  {
    kind: "block",
    counter: "read_latency_sum",
    metric: "block_read_seconds",
    help: "Time that the reads took, each from start to end.",
    unit: US,
  },
  {
    kind: "block",
    counter: "write_latency_sum",
    metric: "block_write_seconds",
    help: "Time that the writes took, each from start to end.",
    unit: US,
  },
  { kind: "net", counter: "rx_bytes", metric: "net_received_bytes", help: "Bytes of frames that the guest received." },
  { kind: "net", counter: "rx_frames", metric: "net_received_frames", help: "Frames that the guest received." },
  { kind: "net", counter: "tx_bytes", metric: "net_sent_bytes", help: "Bytes of frames that the guest sent." },
  { kind: "net", counter: "tx_frames", metric: "net_sent_frames", help: "Frames that the guest sent." },
];

const VCPU_COUNTERS: readonly Counter[] = [
  { counter: "exits", metric: "vcpu_exits", help: "Times that the vCPU left the guest, for whatever reason." },
  { counter: "io_exits", metric: "vcpu_io_exits", help: "Accesses of the vCPU to I/O ports that left the guest." },
  {
    counter: "mmio_exits",
    metric: "vcpu_mmio_exits",
    help: "Accesses of the vCPU to device memory that left the guest.",
  },
  { counter: "halt_exits", metric: "vcpu_halt_exits", help: "Times that the vCPU had nothing to do." },
  { counter: "irq_injections", metric: "vcpu_interrupts", help: "Interrupts that the vCPU was given." },
];

/** All metrics of the process and its VM. */
export function metricFamilies(version: string, vm: VmMetrics, own: ProcessNumbers): MetricFamily[] {
  const gauge = (name: string, help: string, ...samples: Sample[]): MetricFamily => ({
    name,
    help,
    type: "gauge",
    samples,
  });
  const counter = (name: string, help: string, ...samples: Sample[]): MetricFamily => ({
    name: `${name}_total`,
    help,
    type: "counter",
    samples,
  });
  return [
    gauge(`${PREFIX}build_info`, "Version of the VMM; always 1.", { labels: { version }, value: 1 }),
    gauge(
      `${PREFIX}vm_state`,
      "1 for the state that the VM is in; there is no VM when all are 0.",
      ...STATES.map((state) => ({ labels: { state: state.toLowerCase() }, value: vm.state === state ? 1 : 0 })),
    ),
    gauge(`${PREFIX}vm_memory_bytes`, "RAM that the guest has.", { value: vm.memoryBytes }),
    counter(
      `${PREFIX}thread_cpu_seconds`,
      "Processor time of the VMM's threads; vcpu<n> is a vCPU, guest code included. Threads of one name count together.",
      ...own.threads.map(({ name, cpuSeconds }) => ({ labels: { thread: name }, value: cpuSeconds })),
    ),
    ...VCPU_COUNTERS.map(({ counter: name, metric, help }) =>
      counter(
        PREFIX + metric,
        help,
        ...vm.vcpus.flatMap((stats, vcpu) => sampleOf(stats[name], { vcpu: String(vcpu) })),
      ),
    ),
    ...DEVICE_COUNTERS.map(({ kind, counter: name, metric, help, unit = 1 }) =>
      counter(
        PREFIX + metric,
        help,
        ...vm.devices
          .filter((device) => device.kind === kind)
          .flatMap(({ id, counters }) => sampleOf(counters[name], { device: id }, unit)),
      ),
    ),
    counter("process_cpu_seconds", "Processor time of the whole process.", { value: own.cpuSeconds }),
    gauge("process_resident_memory_bytes", "Memory of the process in RAM, guest RAM included.", {
      value: own.residentBytes,
    }),
    gauge("process_virtual_memory_bytes", "Address space of the process.", { value: own.virtualBytes }),
    gauge("process_threads", "Threads of the process.", { value: own.threadCount }),
    gauge("process_open_fds", "Open file descriptors.", { value: own.openFds }),
    gauge("process_max_fds", "File descriptors that may be open.", { value: own.maxFds }),
    gauge("process_start_time_seconds", "When the process started, in seconds since 1970 UTC.", {
      value: own.startSeconds,
    }),
  ];
}

const sampleOf = (value: number | undefined, labels: Readonly<Record<string, string>>, unit = 1): Sample[] =>
  value === undefined ? [] : [{ labels, value: value * unit }];
