import type { IoClient } from "../../../src/devices/io-loop.ts";
import { NetControl } from "../../../src/devices/virtio/net/control.ts";
import { ControlQueue } from "../../../src/devices/virtio/net/control-queue.ts";
import { netDevice } from "../../../src/devices/virtio/net/device.ts";
import { QueuePair } from "../../../src/devices/virtio/net/queue-pair.ts";
import { BackEnd } from "../../../src/devices/virtio/transport/back-end.ts";
import { libc } from "../../../src/host/libc.ts";
import { makeNonBlocking, receive, send, socketPair } from "../../../src/host/unix-socket.ts";
import { openCarrier } from "../../../src/net/open-carrier.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { together } from "../support/together.ts";
import { VirtioGuest } from "../support/virtio-guest.ts";

const PAIRS = 2;
const SETTINGS = {
  mac: Uint8Array.of(2, 0, 0, 0, 0, 1),
  mtu: 1500,
  pairs: PAIRS,
  queueSize: 64,
  offloads: { csum: true, tso: true, ufo: true },
};

/** Frames with their lengths before them, as passt sends them, or bytes that are none. */
function fromPeer(input: Input): Uint8Array {
  const frame = new Uint8Array(input.bool() ? 60 : input.below(2000));
  frame.set(input.take(Math.min(frame.length, 16)));
  const prefix = new DataView(new ArrayBuffer(4));
  prefix.setUint32(0, input.below(16) === 1 ? input.edge(32) : frame.length);
  return Buffer.concat([new Uint8Array(prefix.buffer), frame]).subarray(
    0,
    input.below(8) === 1 ? input.u8() : undefined,
  );
}

/** A command for the control queue. */
const command = (input: Input): Uint8Array =>
  Uint8Array.of(input.below(7), input.below(4), input.u8(), input.below(2), 0, 0, 0, 0, 0, 0);

export const target: FuzzTarget = {
  what: "the queues of the network device, and a peer on a stream that says anything",
  maxBytes: 512,
  open: () => {
    let peers: readonly number[] = [];
    let fds: readonly number[] = [];
    const guest = new VirtioGuest({
      device: netDevice(SETTINGS),
      fresh: true,
      ramBytes: 0x1_0000,
      serve: (loop, transport, memory) => {
        const pairs = Array.from({ length: PAIRS }, () => socketPair());
        fds = pairs.map(([ours]) => ours);
        peers = pairs.map(([, theirs]) => theirs);
        for (const fd of [...fds, ...peers]) makeNonBlocking(fd);
        const wiring = { transport, settings: SETTINGS, carrier: { kind: "stream", fds }, gates: [] } as const;
        const clients: IoClient[] = [new NetControl(loop, wiring, memory)];
        for (let pair = 0; pair < PAIRS; pair++) {
          const backEnd = new BackEnd(netDevice(SETTINGS), transport, memory);
          const [receives, transmits] = [backEnd.queues[2 * pair], backEnd.queues[2 * pair + 1]];
          if (receives === undefined || transmits === undefined) throw new RangeError("no queues");
          const early = pair === 1 ? new ControlQueue(backEnd, receives, wiring, () => undefined) : undefined;
          const carrier = openCarrier(wiring.carrier, pair);
          clients.push(new QueuePair(loop, backEnd, pair, receives, transmits, carrier, memory, early, undefined));
          clients.push({ wake: () => undefined, pause: () => undefined, close: () => carrier.close() });
        }
        return together(clients);
      },
      request: (input) => (input.below(3) === 0 ? command(input) : new Uint8Array(12 + input.below(200))),
      host: (input) => {
        const peer = peers[input.below(PAIRS)] ?? -1;
        try {
          if (input.below(16) === 1) libc.shutdown(peer, input.below(3));
          else if (input.below(3) === 0) receive(peer);
          else {
            const bytes = fromPeer(input);
            if (bytes.length > 0) send(peer, bytes);
          }
        } catch {
          // The device has closed the connection.
        }
      },
      clean: () => {
        for (const fd of [...fds, ...peers]) libc.close(fd);
      },
    });
    return (input) => guest.play(input);
  },
};
