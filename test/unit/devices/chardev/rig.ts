import { OutputRing } from "../../../../src/devices/chardev/output-ring.ts";
import type { ChardevWiring, HostEnd, OutputWiring } from "../../../../src/devices/chardev/wiring.ts";
import { createEventFd } from "../../../../src/host/eventfd.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";

/** A new ring. */
export function ringWiring(): OutputWiring {
  const { address } = mapAnonymous(OutputRing.blockSize);
  const wiring = { block: { address, size: OutputRing.blockSize }, doorbell: createEventFd() };
  new OutputRing(wiring).reset();
  return wiring;
}

/** A character device with that end. */
export const chardevWiring = (end: HostEnd): ChardevWiring => ({ name: "test", output: ringWiring(), end });
