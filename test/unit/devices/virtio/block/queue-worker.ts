import { type OpenQueue, openDisk } from "../../../../../src/block/open-disk.ts";
import type { BlockWiring } from "../../../../../src/devices/virtio/block/device.ts";
import { serveBlockQueue } from "../../../../../src/devices/virtio/block/serve-queue.ts";
import { installKickSignal } from "../../../../../src/host/thread.ts";
import { GuestMemory, type RamRegion } from "../../../../../src/memory/guest-memory.ts";
import { type BlockRef, blockAt } from "../../../../../src/threads/block-ref.ts";
import { ThreadControl } from "../../../../../src/threads/control.ts";
import { serveJobs } from "../../../../../src/threads/serve-jobs.ts";

/** What the worker is told. */
export interface QueueJob {
  readonly name: string;
  readonly wiring: BlockWiring;
  readonly ram: readonly RamRegion[];
  readonly control: BlockRef;
}

/** Serves queue 0 of a block device, as the VMM's own worker does. */
serveJobs(({ name, wiring, ram, control: ref }: QueueJob): true => {
  installKickSignal();
  const control = new ThreadControl(blockAt(ref));
  control.enter(name);
  try {
    const { image } = wiring.settings;
    if (image.kind !== "raw") throw new Error("the test makes raw images");
    const open: OpenQueue = ({ engine, depth, segments }) => openDisk(image, engine, depth, segments);
    serveBlockQueue(wiring, 0, open, new GuestMemory(ram), control);
  } finally {
    control.leave();
  }
  return true;
});
