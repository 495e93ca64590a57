import { expect, test } from "bun:test";
import { configSpaceState } from "../../../../src/devices/pci/config-space.ts";
import { PciSegment, type PciSegmentWiring } from "../../../../src/devices/pci/segment.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { refTo } from "../../../../src/threads/block-ref.ts";
import { WorkerThread } from "../../../../src/threads/worker.ts";
import type { MoverJob } from "./mover-worker.ts";
import { BAR_BYTES, moverFunctions } from "./movers.ts";

test("threads that move BARs into each other's way never map two at one address", async () => {
  const base = 0xc000_0000;
  const states = [0, 1].map(() => refTo(mapAnonymous(configSpaceState.size)));
  const segment: PciSegmentWiring = {
    number: 0,
    block: refTo(mapAnonymous(PciSegment.blockSize)),
    memory32: { base, length: 3 * BAR_BYTES },
    memory64: { base: 2 ** 32, length: 0 },
  };
  for (const config of moverFunctions(new PciSegment(segment), states, base)) {
    config.reset();
    config.write(0x04, 2, 2);
  }
  const rounds = 30_000;
  const workers = states.map(
    (_, own) =>
      new WorkerThread<MoverJob, { moves: number; conflicts: number }>(
        `mover${own}`,
        new URL("./mover-worker.ts", import.meta.url).href,
      ),
  );
  const results = await Promise.all(workers.map((worker, own) => worker.run({ segment, states, own, rounds })));
  for (const worker of workers) worker.terminate();
  for (const { moves, conflicts } of results) {
    expect(conflicts).toBe(0);
    expect(moves).toBeGreaterThan(rounds / 10);
  }
});
