import { tmpdir } from "node:os";
import { join } from "node:path";
import { VsockBackEnd } from "../../../src/devices/virtio/vsock/back-end.ts";
import { vsockDevice } from "../../../src/devices/virtio/vsock/device.ts";
import { libc } from "../../../src/host/libc.ts";
import { accept, connectTo, listenAt, receive, send } from "../../../src/host/unix-socket.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { VirtioGuest } from "../support/virtio-guest.ts";

const CID = 3;
const GREETINGS: readonly [string, ...string[]] = [
  "CONNECT 1\n",
  "CONNECT 2\nx",
  "CONNECT 4294967295\n",
  "CONNECT 4294967296\n",
  "connect\t7 \r\n",
  "CONN",
  "?\n",
  "\n",
  "",
];

/** A packet with a header that makes sense here and there. */
function packet(input: Input): Uint8Array {
  const bytes = new Uint8Array(44 + (input.below(3) === 0 ? input.below(1000) : 0));
  const view = new DataView(bytes.buffer);
  const port = (): number => input.pick([1, 2, 52, 53, 0x4000_0000, 0x4000_0001, 0xffff_ffff]);
  view.setUint32(0, input.below(16) === 1 ? input.edge(32) : CID, true);
  view.setUint32(8, input.below(16) === 1 ? input.edge(32) : 2, true);
  view.setUint32(16, port(), true);
  view.setUint32(20, port(), true);
  view.setUint32(24, input.below(8) === 1 ? input.edge(32) : bytes.length - 44, true);
  view.setUint16(28, input.below(16) === 1 ? input.u8() : 1, true);
  view.setUint16(30, input.below(9), true);
  view.setUint32(32, input.below(5), true);
  view.setUint32(36, input.pick([0, 1, 1000, 65536, 0xffff_ffff]), true);
  view.setUint32(40, input.edge(32), true);
  return bytes;
}

export const target: FuzzTarget = {
  what: "the queues of the socket device, its packets, and clients and servers of the host",
  maxBytes: 768,
  open: () => {
    const path = join(tmpdir(), "v");
    const listenFd = listenAt(path, 16);
    const server = listenAt(`${path}_52`, 16);
    const peers: number[] = [];
    /** What came from nobody or was refused leaves the queues of the listening sockets empty for the next run. */
    const forget = (listening: number): void => {
      for (let fd = accept(listening); fd !== undefined; fd = accept(listening)) libc.close(fd);
    };
    const guest = new VirtioGuest({
      device: vsockDevice(CID),
      fresh: true,
      ramBytes: 0x1_0000,
      serve: (loop, transport, memory) => new VsockBackEnd(loop, { transport, cid: CID, listenFd, path }, memory),
      request: packet,
      host: (input) => {
        const peer = peers[input.below(peers.length + 1)];
        try {
          switch (input.below(6)) {
            case 0: {
              if (peers.length > 8) break;
              const fd = connectTo(path);
              peers.push(fd);
              const greeting = input.below(4) === 0 ? input.take(input.below(40)) : Buffer.from(input.pick(GREETINGS));
              if (greeting.length > 0) send(fd, greeting);
              break;
            }
            case 1: {
              const fd = accept(server);
              if (fd !== undefined) peers.push(fd);
              break;
            }
            case 2:
              if (peer !== undefined) send(peer, new Uint8Array(1 + input.u16()));
              break;
            case 3:
              if (peer !== undefined) receive(peer);
              break;
            case 4:
              if (peer !== undefined) libc.shutdown(peer, input.below(3));
              break;
            default:
              if (peer !== undefined) {
                libc.close(peer);
                peers.splice(peers.indexOf(peer), 1);
              }
          }
        } catch {
          // The device has closed the connection, or takes none.
        }
      },
      clean: () => {
        for (const fd of peers.splice(0)) libc.close(fd);
        forget(listenFd);
        forget(server);
      },
    });
    return (input) => guest.play(input);
  },
};
