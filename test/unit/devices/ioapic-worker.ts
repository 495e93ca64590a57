import { BusAccess } from "../../../src/devices/bus.ts";
import { IoApic } from "../../../src/devices/ioapic.ts";
import type { Irqfd } from "../../../src/devices/lines.ts";
import { type BlockRef, blockAt } from "../../../src/threads/block-ref.ts";
import { serveJobs } from "../../../src/threads/serve-jobs.ts";

/** What the worker is told. */
export interface MaskJob {
  readonly block: BlockRef;
  readonly pins: readonly Irqfd[];
  /** Set when the worker is to end. */
  readonly stop: Int32Array;
}

/** Masks and unmasks pin 4 over and over, as a vCPU would, until it is stopped. @returns how often */
serveJobs(({ block, pins, stop }: MaskJob): number => {
  const ioapic = new IoApic(blockAt(block), pins, { route: () => undefined, unroute: () => undefined });
  const access = new BusAccess();
  const write = (offset: number, value: number): void => {
    Object.assign(access, { offset, size: 4, lo: value, hi: 0 });
    ioapic.write(access);
  };
  let rounds = 0;
  while (Atomics.load(stop, 0) === 0) {
    write(0, 0x18);
    write(0x10, 0x1_0034);
    write(0x10, 0x34);
    rounds++;
  }
  return rounds;
});
