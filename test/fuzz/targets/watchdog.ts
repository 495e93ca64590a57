import { WatchdogBackEnd } from "../../../src/devices/virtio/watchdog/back-end.ts";
import { watchdogDevice } from "../../../src/devices/virtio/watchdog/device.ts";
import { createTimerFd } from "../../../src/host/timerfd.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { VirtioGuest } from "../support/virtio-guest.ts";

/** So long that it never comes to a reset. */
const PERIOD_NS = 1e15;

export const target: FuzzTarget = {
  what: "the queue of the watchdog",
  maxBytes: 512,
  open: () => {
    const timerFd = createTimerFd();
    const guest = new VirtioGuest({
      device: watchdogDevice,
      serve: (loop, transport, memory) =>
        new WatchdogBackEnd(
          loop,
          { transport, timerFd, periodNs: PERIOD_NS, patienceNs: PERIOD_NS },
          memory,
          () => undefined,
        ),
    });
    return (input) => guest.play(input);
  },
};
