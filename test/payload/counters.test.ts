import { afterAll, expect, test } from "bun:test";
import { rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { buildPayload } from "./build.ts";
import { configOf, inProcessHost, SerialOutput, TestLife } from "./in-process.ts";
import { parseResult } from "./process.ts";

const host = inProcessHost();
afterAll(() => host.threads.close());

const TIMEOUT_MS = 60_000;
const BLOCK_BYTES = 8192;
const NONE = 18446744073709551615n;

test(
  "counters say exactly what the guest did, all queues together, and what is idle has counted nothing",
  async () => {
    const folder = await scratchDir("payload-counters");
    try {
      const disks = ["busy", "idle"].map((name) => join(folder, name));
      for (const disk of disks) {
        await Bun.write(disk, "");
        await truncate(disk, 16 << 20);
      }
      const output = new SerialOutput(folder, "serial");
      const life = new TestLife(
        configOf([
          ...["--kernel", await buildPayload("blkbench"), "--memory", "size=64M", "--cpus", "boot=2"],
          ...["--cmdline", `op=randwrite bs=${BLOCK_BYTES} qd=8 queues=2 cpus=2 seconds=1 warm_ms=0`],
          ...["--serial", `file=${output.path}`, "--console", "off"],
          ...[
            "--disk",
            `path=${disks[0]},id=busy,num_queues=2,image_type=raw`,
            `path=${disks[1]},id=idle,image_type=raw`,
          ],
        ]),
        host,
      );
      await life.start();
      expect(await life.over).toBe("powerOff");
      const counters = await life.counters();
      life.close();
      const text = await output.all();
      expect(text).toContain("PASS");
      const result = parseResult(text.split(/\r?\n/).find((line) => line.startsWith("RESULT op")) ?? "");
      const done = Number(result["total"]);
      expect(done).toBeGreaterThan(0);
      expect(Object.keys(counters)).toEqual(["busy", "idle"]);
      const { busy = {} } = counters;
      expect(busy).toMatchObject({
        read_bytes: 0,
        read_ops: 0,
        read_latency_min: NONE,
        read_latency_max: NONE,
        read_latency_avg: 1844674407370955,
        write_bytes: done * BLOCK_BYTES,
        write_ops: done,
      });
      const { write_latency_min: min, write_latency_avg: avg, write_latency_max: max } = busy;
      expect(Number(min)).toBeLessThanOrEqual(Number(avg));
      expect(Number(avg)).toBeLessThanOrEqual(Number(max));
      expect(Number(max)).toBeLessThan(TIMEOUT_MS * 1000);
      expect(counters["idle"]).toMatchObject({ write_bytes: 0, write_ops: 0, write_latency_min: NONE });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
  TIMEOUT_MS,
);
