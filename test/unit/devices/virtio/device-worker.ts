import { IoLoop } from "../../../../src/devices/io-loop.ts";
import type { NoticeListener } from "../../../../src/devices/notices.ts";
import { BalloonBackEnd } from "../../../../src/devices/virtio/balloon/back-end.ts";
import type { BalloonWiring } from "../../../../src/devices/virtio/balloon/device.ts";
import { WatchdogBackEnd } from "../../../../src/devices/virtio/watchdog/back-end.ts";
import type { WatchdogWiring } from "../../../../src/devices/virtio/watchdog/device.ts";
import { GuestMemory, type RamRegion } from "../../../../src/memory/guest-memory.ts";
import type { BackedRegion } from "../../../../src/memory/ram.ts";
import { RamRelease } from "../../../../src/memory/ram-release.ts";
import { type BlockRef, blockAt } from "../../../../src/threads/block-ref.ts";
import { ThreadControl } from "../../../../src/threads/control.ts";
import { serveJobs } from "../../../../src/threads/serve-jobs.ts";

/** The one device that the thread serves. */
export type ServedDevice =
  | { readonly kind: "watchdog"; readonly wiring: WatchdogWiring }
  | { readonly kind: "balloon"; readonly wiring: BalloonWiring; readonly ram: readonly BackedRegion[] };

export interface DeviceJob {
  readonly control: BlockRef;
  readonly regions: readonly RamRegion[];
  readonly device: ServedDevice;
}

/** An I/O thread with a single device. */
serveJobs((job: DeviceJob, notify: NoticeListener) => {
  const control = new ThreadControl(blockAt(job.control));
  control.enter("io");
  try {
    const memory = new GuestMemory(job.regions);
    const loop = new IoLoop(control);
    const { device } = job;
    switch (device.kind) {
      case "watchdog":
        loop.add(new WatchdogBackEnd(loop, device.wiring, memory, notify));
        break;
      case "balloon":
        loop.add(new BalloonBackEnd(loop, device.wiring, memory, new RamRelease(device.ram), notify));
        break;
    }
    loop.run();
    return "stopped";
  } finally {
    control.leave();
  }
});
