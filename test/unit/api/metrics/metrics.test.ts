import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { apiResponse } from "../../../../src/api/http/response.ts";
import { exposition } from "../../../../src/api/metrics/exposition.ts";
import { metricFamilies } from "../../../../src/api/metrics/families.ts";
import { type ProcessNumbers, processNumbers } from "../../../../src/api/metrics/process-numbers.ts";
import { makeRouter } from "../../../../src/api/rest/router.ts";
import type { VmMetrics } from "../../../../src/vmm/control/vm-metrics.ts";
import { fakeVmm } from "../../vmm/control/fake-life.ts";
import { checkExposition } from "./check-exposition.ts";

const OWN: ProcessNumbers = {
  threads: [
    { name: "vcpu0", cpuSeconds: 1.5 },
    { name: "main", cpuSeconds: 0 },
  ],
  threadCount: 2,
  cpuSeconds: 2.25,
  residentBytes: 4096,
  virtualBytes: 8192,
  openFds: 9,
  maxFds: Number.POSITIVE_INFINITY,
  startSeconds: 1.7e9,
};
const NO_VM: VmMetrics = { state: undefined, memoryBytes: 0, devices: [], vcpus: [] };

const told = (vm: VmMetrics): Map<string, number> => checkExposition(exposition(metricFamilies("1.2.3", vm, OWN)));

describe("text", () => {
  test("has help and type once, escapes what it has to, and leaves out what has no value", () => {
    const text = exposition([
      {
        name: "some_bytes",
        help: "A\\B\nC",
        type: "gauge",
        samples: [{ value: 2 ** 53 }, { labels: { a: 'x"y\\z\n', b: "é" }, value: -0.5 }],
      },
      { name: "none_total", help: "Nothing.", type: "counter", samples: [] },
      { name: "odd", help: "Odd.", type: "gauge", samples: [{ value: Number.NaN }] },
    ]);
    expect(text).toBe(
      "# HELP some_bytes A\\\\B\\nC\n# TYPE some_bytes gauge\nsome_bytes 9007199254740992\n" +
        'some_bytes{a="x\\"y\\\\z\\n",b="é"} -0.5\n# HELP odd Odd.\n# TYPE odd gauge\nodd NaN\n',
    );
    expect(checkExposition(text).size).toBe(3);
  });

  test("the check finds what is wrong", () => {
    const head = "# HELP a A.\n# TYPE a gauge\n";
    for (const bad of [
      "a 1\n",
      "# TYPE a gauge\na 1\n",
      `${head}a 1`,
      `${head}b 1\n`,
      `${head}a x\n`,
      `${head}a 1\na 1\n`,
      `${head}a 1\n${head}a{b="c"} 1\n`,
      `${head}a{b="c} 1\n`,
      `${head}a{b="c\\d"} 1\n`,
      "# HELP a A.\n# TYPE a counter\na 1\n",
      "# HELP a_total A\\q.\n# TYPE a_total counter\na_total 1\n",
      "# HELP a_total A.\n# TYPE a_total counter\na_total -1\n",
    ])
      expect(() => checkExposition(bad)).toThrow();
  });
});

describe("metrics", () => {
  test("of a process without a VM", () => {
    const samples = told(NO_VM);
    expect(samples.get('cloud_hypervisor_build_info{version="1.2.3"}')).toBe(1);
    for (const state of ["created", "running", "paused", "shutdown", "breakpoint"])
      expect(samples.get(`cloud_hypervisor_vm_state{state="${state}"}`)).toBe(0);
    expect(samples.get('cloud_hypervisor_thread_cpu_seconds_total{thread="vcpu0"}')).toBe(1.5);
    expect(samples.get("process_cpu_seconds_total")).toBe(2.25);
    expect(samples.get("process_max_fds")).toBe(Number.POSITIVE_INFINITY);
    expect([...samples.keys()].filter((name) => /block|net|vcpu_/.test(name))).toEqual([]);
  });

  test("of devices and vCPUs, by their ids", () => {
    const samples = told({
      state: "Running",
      memoryBytes: 1 << 30,
      devices: [
        { id: 'odd"id', kind: "block", counters: { read_bytes: 512, read_ops: 1, read_latency_sum: 250 } },
        { id: "_net1", kind: "net", counters: { rx_bytes: 60, rx_frames: 1, tx_bytes: 0, tx_frames: 0 } },
        { id: "other", kind: "future", counters: { rx_bytes: 60 } },
      ],
      vcpus: [{ exits: 10, io_exits: 3 }, {}],
    });
    expect(samples.get('cloud_hypervisor_vm_state{state="running"}')).toBe(1);
    expect(samples.get("cloud_hypervisor_vm_memory_bytes")).toBe(1 << 30);
    expect(samples.get('cloud_hypervisor_block_read_bytes_total{device="odd\\"id"}')).toBe(512);
    expect(samples.get('cloud_hypervisor_block_read_seconds_total{device="odd\\"id"}')).toBeCloseTo(250e-6, 12);
    expect(samples.get('cloud_hypervisor_net_received_bytes_total{device="_net1"}')).toBe(60);
    expect(samples.get('cloud_hypervisor_vcpu_exits_total{vcpu="0"}')).toBe(10);
    expect([...samples.keys()].filter((name) => name.includes('vcpu="1"') || name.includes("other"))).toEqual([]);
  });

  test("of this process are what the kernel says", () => {
    const numbers = processNumbers();
    expect(numbers.threads.map(({ name }) => name)).toContain(readFileSync("/proc/self/comm", "utf8").trim());
    expect(new Set(numbers.threads.map(({ name }) => name)).size).toBe(numbers.threads.length);
    expect(numbers.residentBytes).toBeGreaterThan(1 << 20);
    expect(numbers.virtualBytes).toBeGreaterThan(numbers.residentBytes);
    expect(numbers.openFds).toBeGreaterThan(2);
    expect(numbers.maxFds).toBeGreaterThanOrEqual(numbers.openFds);
    expect(Math.abs(numbers.startSeconds - Date.now() / 1000)).toBeLessThan(3600);
  });
});

describe("GET /metrics", () => {
  const ask = (method: "GET" | "PUT" | "DELETE", path: string, body = "") => {
    const { controller } = fakeVmm();
    const handle = makeRouter(controller, { buildVersion: "v1", version: "1", features: [] });
    return handle({ method, path, body: Buffer.from(body), fds: [] });
  };

  test("answers in the format that it says", async () => {
    const response = await ask("GET", "/metrics");
    expect(response).toMatchObject({ status: 200, contentType: "text/plain; version=0.0.4; charset=utf-8" });
    expect(checkExposition(response.body).size).toBeGreaterThan(10);
    const bytes = new TextDecoder().decode(apiResponse({ ...response, body: "é" }));
    expect(bytes).toContain("\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: 2\r\n\r\né");
  });

  test("is no other method's and no other path's", async () => {
    for (const method of ["PUT", "DELETE"] as const) expect((await ask(method, "/metrics")).status).toBe(400);
    for (const path of ["/metrics/", "/metrics?x", "/api/v1/metrics", "/METRICS"])
      expect((await ask("GET", path)).status).toBe(404);
  });
});
