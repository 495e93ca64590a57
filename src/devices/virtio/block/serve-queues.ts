import type { OpenQueue } from "../../../block/open-disk.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import type { ThreadControl } from "../../../threads/control.ts";
import type { RateGate } from "../../rate-limit/rate-gate.ts";
import { BackEnd } from "../transport/back-end.ts";
import { BlockQueue } from "./block-queue.ts";
import { BlockThread } from "./block-thread.ts";
import { type BlockWiring, blockDevice } from "./device.ts";

/** A queue that a thread is to serve. */
export interface ServedQueue {
  /** Its number. */
  readonly index: number;
  /** What its requests have to pass; without it they are not limited. */
  readonly gate: RateGate | undefined;
}

/**
 * Serves queues of a block device on the calling thread until `control` asks it to stop.
 * @param served one or more
 * @param open opens the device's image for each of them
 * @param serving told when all is set up
 * @throws SysError when the host cannot do I/O any more
 */
export function serveBlockQueues(
  wiring: BlockWiring,
  served: readonly ServedQueue[],
  open: OpenQueue,
  memory: GuestMemory,
  control: ThreadControl,
  serving: () => void = () => undefined,
): void {
  const { transport, settings } = wiring;
  const backEnd = new BackEnd(blockDevice(settings), transport, memory);
  const { queueSize } = settings;
  const disks = served.map(({ index }) => open({ queue: index, depth: queueSize, segments: queueSize }));
  const [disk] = disks;
  if (disk === undefined) throw new RangeError(`${transport.id}: no queues to serve`);
  const queues = served.map(({ index, gate }, i) => {
    const queue = backEnd.queues[index];
    if (queue === undefined) throw new RangeError(`${transport.id} has no queue ${index}`);
    return new BlockQueue(backEnd, queue, settings, disks[i] ?? disk, memory, gate);
  });
  const thread = new BlockThread(queues, disk, control);
  serving();
  thread.run();
  for (const each of disks) each.close();
}
