import { Chardev } from "../../../src/devices/chardev/chardev.ts";
import { OutputRing } from "../../../src/devices/chardev/output-ring.ts";
import { ConsoleBackEnd } from "../../../src/devices/virtio/console/back-end.ts";
import { consoleDevice } from "../../../src/devices/virtio/console/device.ts";
import { libc } from "../../../src/host/libc.ts";
import { makeNonBlocking, receive, send, socketPair } from "../../../src/host/unix-socket.ts";
import { chardevWiring } from "../../unit/devices/chardev/rig.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { together } from "../support/together.ts";
import { VirtioGuest } from "../support/virtio-guest.ts";

const SIZE = { columns: 80, rows: 25 };

export const target: FuzzTarget = {
  what: "the queues of the console, and what comes from its host's end",
  maxBytes: 512,
  open: () => {
    const [ours, theirs] = socketPair();
    for (const fd of [ours, theirs]) makeNonBlocking(fd);
    const chardev = chardevWiring({ kind: "fixed", outputFd: ours, inputFd: libc.dup(ours) });
    const ring = new OutputRing(chardev.output);
    const drain = (): void => {
      for (let bytes = receive(theirs)?.bytes; bytes !== undefined && bytes.length > 0; )
        bytes = receive(theirs)?.bytes;
    };
    const guest = new VirtioGuest({
      device: consoleDevice(SIZE),
      serve: (loop, transport, memory) => {
        const host = new Chardev(loop, chardev);
        const device = new ConsoleBackEnd(
          loop,
          { transport, size: SIZE, output: chardev.output, takesInput: true },
          memory,
          host,
        );
        return together([host, device]);
      },
      host: (input) => {
        if (input.bool()) drain();
        else send(theirs, new Uint8Array(1 + input.below(300)));
      },
      clean: () => {
        ring.reset();
        drain();
      },
    });
    return (input) => guest.play(input);
  },
};
