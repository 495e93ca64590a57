import { serveRtc } from "../../../src/devices/virtio/rtc/back-end.ts";
import { rtcDevice } from "../../../src/devices/virtio/rtc/device.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { VirtioGuest } from "../support/virtio-guest.ts";

export const target: FuzzTarget = {
  what: "the queue of the clock device",
  maxBytes: 512,
  open: () => {
    const guest = new VirtioGuest({
      device: rtcDevice,
      serve: (loop, transport, memory) => serveRtc(loop, { transport }, memory),
      request: (input) =>
        Uint8Array.of(input.below(5), input.bool() ? 0 : 0x10, 0, 0, 0, 0, 0, 0, input.below(3), 0, 0, 0, 0, 0, 0, 0),
    });
    return (input) => guest.play(input);
  },
};
