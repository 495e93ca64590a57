import { expect, test } from "bun:test";
import { exposition } from "../../../../../src/api/metrics/exposition.ts";
import { metricFamilies } from "../../../../../src/api/metrics/families.ts";
import { parseMetrics } from "../../../../../src/cli/ch-remote/top/metrics-text.ts";
import { sampleOf } from "../../../../../src/cli/ch-remote/top/sample.ts";

const PROCESS = {
  threads: [
    { name: "vcpu10", cpuSeconds: 3 },
    { name: "vcpu2", cpuSeconds: 2 },
    { name: "io", cpuSeconds: 0.5 },
  ],
  threadCount: 5,
  cpuSeconds: 6,
  residentBytes: 1000,
  virtualBytes: 2000,
  openFds: 12,
  maxFds: Number.POSITIVE_INFINITY,
  startSeconds: 100,
};
const CONTEXT = {
  atMs: 1,
  nowSeconds: 160,
  version: "1.0.0",
  pid: 7,
  waits: new Map([["vcpu2", 0.25]]),
  uses: new Map(),
};

test("a sample is what the metrics say", () => {
  const vcpus = Array.from({ length: 11 }, (_, index) => ({ exits: index }));
  const odd = 'a"b\\c\nd';
  const devices = [
    { id: odd, kind: "block", counters: { read_bytes: 4096, read_ops: 1, read_latency_sum: 500_000 } },
    { id: "n", kind: "net", counters: { rx_bytes: 60 } },
  ];
  const text = exposition(metricFamilies("v1", { state: "Running", memoryBytes: 1 << 20, vcpus, devices }, PROCESS));
  expect(sampleOf(parseMetrics(text), CONTEXT)).toEqual({
    atMs: 1,
    version: "1.0.0",
    pid: 7,
    uses: new Map(),
    state: "running",
    upSeconds: 60,
    guestBytes: 1 << 20,
    residentBytes: 1000,
    openFds: 12,
    threadCount: 5,
    vcpus: [
      { id: "2", counters: { exits: 2, cpuSeconds: 2, waitSeconds: 0.25 } },
      { id: "10", counters: { exits: 10, cpuSeconds: 3 } },
    ],
    disks: [{ id: odd, counters: { readBytes: 4096, reads: 1, readSeconds: 0.5 } }],
    nets: [{ id: "n", counters: { receivedBytes: 60 } }],
    threads: [{ id: "io", counters: { cpuSeconds: 0.5 } }],
  });
});

test("threads that wait for the next boot are no vCPUs", () => {
  const vm = { state: "Created" as const, memoryBytes: 0, vcpus: [], devices: [] };
  const sample = sampleOf(parseMetrics(exposition(metricFamilies("v1", vm, PROCESS))), CONTEXT);
  expect(sample).toMatchObject({ state: "created", vcpus: [] });
});

test("what is no metric says nothing", () => {
  expect(parseMetrics("<html>\n# HELP x y\nx NaN\nx{a=1 2\n").size).toBe(0);
});
