import { watchdogDevice } from "../../devices/virtio/watchdog/device.ts";
import { createTimerFd } from "../../host/timerfd.ts";
import type { PciBuilder } from "./builder.ts";

const WATCHDOG_ID = "__watchdog";

const PERIOD_NS = 15e9;
/** More than 20 whole seconds. */
const PATIENCE_NS = 21e9;

/** Places the watchdog. @throws SysError */
export function placeWatchdog(builder: PciBuilder): void {
  const timerFd = builder.descriptors.own(createTimerFd());
  const transport = builder.transport(builder.id(WATCHDOG_ID), watchdogDevice);
  builder.wiring = {
    kind: "watchdog",
    slot: builder.slot({}),
    device: { transport, timerFd, periodNs: PERIOD_NS, patienceNs: PATIENCE_NS },
  };
}
