import type { Bar } from "../../../../src/devices/pci/bar.ts";
import { PciSegment, type PciSegmentWiring } from "../../../../src/devices/pci/segment.ts";
import type { BlockRef } from "../../../../src/threads/block-ref.ts";
import { serveJobs } from "../../../../src/threads/serve-jobs.ts";
import { BAR_BYTES, moverFunctions } from "./movers.ts";

export interface MoverJob {
  readonly segment: PciSegmentWiring;
  readonly states: readonly BlockRef[];
  /** The function that this thread moves. */
  readonly own: number;
  readonly rounds: number;
}

/** Moves a function's BAR about in one place more than there are functions, and looks whether it ever shares one. */
serveJobs(({ segment: wiring, states, own, rounds }: MoverJob) => {
  const segment = new PciSegment(wiring);
  const configs = moverFunctions(segment, states, wiring.memory32.base);
  const bars = configs.map(({ bars: [bar] }) => bar).filter((bar): bar is Bar => bar !== undefined);
  const bar = bars[own];
  let moves = 0;
  let conflicts = 0;
  for (let i = 0; i < rounds; i++) {
    const wanted = wiring.memory32.base + ((i * 7 + own) % (states.length + 1)) * BAR_BYTES;
    configs[own]?.write(0x10, 4, wanted);
    if (bar?.mapped === wanted) moves++;
    if (bars.some((other) => other !== bar && other.mapped === bar?.mapped)) conflicts++;
    const target = segment.target(segment.find(bar?.mapped ?? 0));
    if (target?.function !== segment.at(own)) conflicts++;
  }
  return { moves, conflicts };
});
