import { diskOpener } from "../../../../../src/block/open-disk.ts";
import type { BlockWiring } from "../../../../../src/devices/virtio/block/device.ts";
import { serveBlockQueues } from "../../../../../src/devices/virtio/block/serve-queues.ts";
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
serveJobs(async ({ name, wiring, ram, control: ref }: QueueJob): Promise<true> => {
  installKickSignal();
  const control = new ThreadControl(blockAt(ref));
  control.enter(name);
  try {
    const { image, engines } = wiring.settings;
    const open = await diskOpener(image, engines);
    serveBlockQueues(wiring, [{ index: 0, gate: undefined }], open, new GuestMemory(ram), control);
  } finally {
    control.leave();
  }
  return true;
});
