import type { BalloonConfig } from "../../config/schema/virtio-devices.ts";
import { BALLOON_PAGE, balloonDevice } from "../../devices/virtio/balloon/device.ts";
import type { PciBuilder } from "./builder.ts";

const BALLOON_ID = "__balloon";

/** The pages that a balloon of so many bytes has, in whole ones. */
export const balloonPages = (bytes: number): number => Math.floor(bytes / BALLOON_PAGE);

/** The identifier of a VM's balloon. */
export const balloonId = ({ id }: BalloonConfig): string => id ?? BALLOON_ID;

/** Places the memory balloon. */
export function placeBalloon(builder: PciBuilder, config: BalloonConfig): void {
  const settings = {
    pages: balloonPages(config.size),
    deflateOnOom: config.deflate_on_oom,
    freePageReporting: config.free_page_reporting,
    statistics: config.statistics,
  };
  const transport = builder.transport(builder.id(balloonId(config)), balloonDevice(settings));
  builder.wiring = { kind: "balloon", slot: builder.slot(config), device: { transport, settings } };
}
