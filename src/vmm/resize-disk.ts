import { resizeImage } from "../block/resize-image.ts";
import { SECTOR_BYTES } from "../block/topology.ts";
import { blockConfig } from "../devices/virtio/block/protocol.ts";
import { ThreadState } from "../threads/control.ts";
import { UnknownDeviceError } from "./control/errors.ts";
import type { Machine } from "./machine.ts";

const CAPACITY_WORD = blockConfig.offsets.capacity / 4;

/**
 * Changes the size of a disk under the running guest, which is told. The disk's threads stand still meanwhile, with nothing
 * under way, so that no request meets a size that is neither the old nor the new one.
 * @throws UnknownDeviceError, ImageSizeError, ThreadStuckError
 */
export function resizeDisk(machine: Machine, id: string, bytes: number): void {
  const disk = machine.pci.placed.find((device) => device.id === id);
  const front = machine.devices.pci.virtio(id);
  if (disk?.wiring.kind !== "block" || front === undefined) throw new UnknownDeviceError(id);
  const { image, sparse } = disk.wiring.device.settings;
  const threads = disk.threads.filter(({ control }) => control.state !== ThreadState.PAUSED);
  for (const thread of threads) thread.pause();
  try {
    for (const thread of threads) thread.waitParked();
    resizeImage(image, bytes, sparse);
    const sectors = bytes / SECTOR_BYTES;
    front.changeConfig(CAPACITY_WORD, sectors >>> 0, Math.floor(sectors / 0x1_0000_0000));
  } finally {
    for (const thread of threads) thread.resume();
  }
}
