import { Chardev } from "../../../../src/devices/chardev/chardev.ts";
import type { ChardevWiring } from "../../../../src/devices/chardev/wiring.ts";
import { IoLoop } from "../../../../src/devices/io-loop.ts";
import { ConsoleBackEnd } from "../../../../src/devices/virtio/console/back-end.ts";
import type { ConsoleWiring } from "../../../../src/devices/virtio/console/device.ts";
import { RngBackEnd } from "../../../../src/devices/virtio/rng/back-end.ts";
import type { RngWiring } from "../../../../src/devices/virtio/rng/device.ts";
import { GuestMemory, type RamRegion } from "../../../../src/memory/guest-memory.ts";
import { type BlockRef, blockAt } from "../../../../src/threads/block-ref.ts";
import { ThreadControl } from "../../../../src/threads/control.ts";
import { serveJobs } from "../../../../src/threads/serve-jobs.ts";

/** What the thread serves. */
export interface IoJob {
  readonly control: BlockRef;
  readonly regions: readonly RamRegion[];
  readonly console: ConsoleWiring;
  /** The console's end; nowhere when undefined. */
  readonly chardev: ChardevWiring | undefined;
  readonly stallNs: number;
  readonly rng: RngWiring;
}

/** An I/O thread with a console and an entropy device. */
serveJobs((job: IoJob) => {
  const control = new ThreadControl(blockAt(job.control));
  control.enter("io");
  try {
    const memory = new GuestMemory(job.regions);
    const loop = new IoLoop(control);
    const chardev = job.chardev && new Chardev(loop, job.chardev, job.stallNs);
    if (chardev !== undefined) loop.add(chardev);
    loop.add(new ConsoleBackEnd(loop, job.console, memory, chardev));
    loop.add(new RngBackEnd(loop, job.rng, memory));
    loop.run();
    return "stopped";
  } finally {
    control.leave();
  }
});
