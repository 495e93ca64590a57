import { openSync } from "node:fs";
import { RngBackEnd } from "../../../src/devices/virtio/rng/back-end.ts";
import { rngDevice } from "../../../src/devices/virtio/rng/device.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { VirtioGuest } from "../support/virtio-guest.ts";

export const target: FuzzTarget = {
  what: "the queue of the entropy device",
  maxBytes: 512,
  open: () => {
    const sourceFd = openSync("/dev/zero", "r");
    const guest = new VirtioGuest({
      device: rngDevice,
      // /dev/zero cannot be waited for, and never has to be.
      serve: (loop, transport, memory) => new RngBackEnd(loop, { transport, sourceFd, gate: undefined }, memory),
    });
    return (input) => guest.play(input);
  },
};
