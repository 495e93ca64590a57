import { BalloonBackEnd } from "../../../src/devices/virtio/balloon/back-end.ts";
import { balloonDevice } from "../../../src/devices/virtio/balloon/device.ts";
import { RamRelease } from "../../../src/memory/ram-release.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { VirtioGuest } from "../support/virtio-guest.ts";

const SETTINGS = { pages: 16, deflateOnOom: true, freePageReporting: true, statistics: true };

export const target: FuzzTarget = {
  what: "the queues of the balloon: inflate, deflate, statistics, free pages",
  maxBytes: 512,
  open: () => {
    const guest = new VirtioGuest({
      device: balloonDevice(SETTINGS),
      serve: (loop, transport, memory, ram) =>
        new BalloonBackEnd(
          loop,
          { transport, settings: SETTINGS },
          memory,
          new RamRelease(ram.backed),
          () => undefined,
        ),
      request: (input) => {
        const numbers = new Uint32Array(1 + input.below(8));
        for (let i = 0; i < numbers.length; i++) numbers[i] = input.bool() ? 0x100 + input.below(0x20) : input.edge(32);
        return new Uint8Array(numbers.buffer);
      },
    });
    return (input) => guest.play(input);
  },
};
