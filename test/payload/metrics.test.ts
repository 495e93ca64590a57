import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { checkExposition } from "../unit/api/metrics/check-exposition.ts";
import { buildPayload } from "./build.ts";
import { eventually } from "./eventually.ts";
import { vmmPath } from "./vmm.ts";

const PATIENCE_MS = 30_000;
const DEVICE = '{device="data"}';

test("GET /metrics tells what a guest does, as a scraper reads it", async () => {
  const folder = await scratchDir("payload-metrics");
  const path = (name: string): string => join(folder, name);
  await Bun.write(path("disk"), new Uint8Array(1 << 20));
  const monitor = Bun.spawn(
    [
      ...[vmmPath(), "--api-socket", path("api"), "--kernel", await buildPayload("blkbench"), "--no-shutdown"],
      ...["--cmdline", "op=randread bs=4096 qd=8 seconds=1 warm_ms=0", "--memory", "size=64M", "--console", "off"],
      ...["--serial", `file=${path("serial")}`, "--disk", `path=${path("disk")},id=data,image_type=raw`],
    ],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  try {
    await eventually("the API's socket", PATIENCE_MS, () => existsSync(path("api")) || undefined);
    const scrape = async (): Promise<Map<string, number>> => {
      const response = await fetch("http://localhost/metrics", { unix: path("api") });
      expect(response.status).toBe(200);
      expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
      return checkExposition(await response.text());
    };
    const deadline = performance.now() + PATIENCE_MS;
    const until = async (what: string, holds: (now: Map<string, number>) => boolean): Promise<Map<string, number>> => {
      for (;;) {
        const now = await scrape();
        if (holds(now)) return now;
        if (performance.now() > deadline) throw new Error(`${what} did not come`);
        await Bun.sleep(5);
      }
    };
    const reads = `cloud_hypervisor_block_reads_total${DEVICE}`;
    const before = await until("the first read", (now) => (now.get(reads) ?? 0) > 0);
    expect(before.get('cloud_hypervisor_vm_state{state="running"}')).toBe(1);
    expect(before.get("cloud_hypervisor_vm_memory_bytes")).toBe(64 << 20);
    expect(before.get('cloud_hypervisor_thread_cpu_seconds_total{thread="data_q0"}')).toBeGreaterThan(0);
    expect(before.get('cloud_hypervisor_vcpu_exits_total{vcpu="0"}')).toBeGreaterThan(0);
    const after = await until("more reads", (now) => (now.get(reads) ?? 0) > (before.get(reads) ?? 0));
    expect(after.get(`cloud_hypervisor_block_read_bytes_total${DEVICE}`)).toBe((after.get(reads) ?? 0) * 4096);
    for (const [name, value] of before)
      if (name.includes("_total"))
        expect([name, after.get(name)]).toEqual([name, Math.max(value, after.get(name) ?? 0)]);
    const over = await until("the end", (now) => now.get('cloud_hypervisor_vm_state{state="created"}') === 1);
    expect(over.get(reads)).toBeUndefined();
  } finally {
    monitor.kill("SIGKILL");
    await monitor.exited;
    await rm(folder, { recursive: true, force: true });
  }
}, 60_000);
