import type { OpenQueue } from "../../../block/open-disk.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import type { ThreadControl } from "../../../threads/control.ts";
import type { RateGate } from "../../rate-limit/rate-gate.ts";
import { BackEnd } from "../transport/back-end.ts";
import { BlockQueue } from "./block-queue.ts";
import { type BlockWiring, blockDevice } from "./device.ts";

/**
 * Serves a queue of a block device on the calling thread until `control` asks it to stop.
 * @param open opens the device's image
 * @param serving told when all is set up
 * @param gate what requests have to pass; without it they are not limited
 * @throws SysError when the host cannot do I/O any more
 */
export function serveBlockQueue(
  wiring: BlockWiring,
  index: number,
  open: OpenQueue,
  memory: GuestMemory,
  control: ThreadControl,
  serving: () => void = () => undefined,
  gate?: RateGate,
): void {
  const { transport, settings } = wiring;
  const backEnd = new BackEnd(blockDevice(settings), transport, memory);
  const queue = backEnd.queues[index];
  if (queue === undefined) throw new RangeError(`${transport.id} has no queue ${index}`);
  const { engine, queueSize } = settings;
  const disk = open({ engine, queue: index, depth: queueSize, segments: queueSize });
  const blockQueue = new BlockQueue(backEnd, queue, settings, disk, memory, control, gate);
  serving();
  blockQueue.run();
  disk.close();
}
