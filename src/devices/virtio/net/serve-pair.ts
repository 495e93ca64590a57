import type { GuestMemory } from "../../../memory/guest-memory.ts";
import { openCarrier } from "../../../net/open-carrier.ts";
import type { ThreadControl } from "../../../threads/control.ts";
import { IoLoop } from "../../io-loop.ts";
import { BackEnd } from "../transport/back-end.ts";
import { NetControl } from "./control.ts";
import { ControlQueue } from "./control-queue.ts";
import { type NetWiring, netDevice, receiveQueue, transmitQueue } from "./device.ts";
import { QueuePair } from "./queue-pair.ts";
import type { PairGates } from "./rate-limit.ts";

/**
 * Serves a pair of queues of a network device on the calling thread until `control` asks it to stop.
 * @param serving told when all is set up
 * @param gates what frames have to pass; without them they are not limited
 * @throws SysError when the host cannot do I/O any more
 */
export function serveNetPair(
  wiring: NetWiring,
  pair: number,
  memory: GuestMemory,
  control: ThreadControl,
  serving: () => void = () => undefined,
  gates?: PairGates,
): void {
  const { transport, settings, carrier: carrierWiring } = wiring;
  const backEnd = new BackEnd(netDevice(settings), transport, memory);
  const receive = backEnd.queues[receiveQueue(pair)];
  const transmit = backEnd.queues[transmitQueue(pair)];
  if (receive === undefined || transmit === undefined) throw new RangeError(`${transport.id} has no pair ${pair}`);
  const carrier = openCarrier(carrierWiring, pair);
  try {
    const loop = new IoLoop(control);
    const early = pair === 1 ? new ControlQueue(backEnd, receive, wiring, () => undefined) : undefined;
    // The driver says little there: a thread of its own would cost more than it is worth.
    if (pair === 0) loop.add(new NetControl(loop, wiring, memory));
    loop.add(new QueuePair(loop, backEnd, pair, receive, transmit, carrier, memory, early, gates));
    serving();
    loop.run();
  } finally {
    carrier.close();
  }
}
