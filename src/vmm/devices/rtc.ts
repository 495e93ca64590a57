import type { RtcConfig } from "../../config/schema/virtio-devices.ts";
import { rtcDevice } from "../../devices/virtio/rtc/device.ts";
import type { PciBuilder } from "./builder.ts";

const RTC_ID = "__rtc";

/** Places the clock device. */
export function placeRtc(builder: PciBuilder, config: RtcConfig): void {
  const transport = builder.transport(builder.id(config.id ?? RTC_ID), rtcDevice);
  builder.wiring = { kind: "rtc", slot: builder.slot(config), device: { transport } };
}
