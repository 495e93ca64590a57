import { libc } from "../host/libc.ts";
import { scratch } from "../host/scratch.ts";
import { rarpFrame } from "./arp.ts";
import type { FrameCarrier } from "./frame-carrier.ts";
import { StreamCarrier } from "./stream/stream-carrier.ts";
import { VNET_HDR_BYTES } from "./tap-abi.ts";
import { setTapOffloads, TapCarrier } from "./tap-carrier.ts";

/** What carries a device's frames, as plain data. */
export interface CarrierWiring {
  /** TAP interfaces, or a stream socket. */
  readonly kind: "tap" | "stream";
  /** One a pair of queues. */
  readonly fds: readonly number[];
}

/** Opens the carrier of a pair of queues on the thread that serves it. @throws RangeError, SysError */
export function openCarrier(wiring: CarrierWiring, pair: number): FrameCarrier {
  const fd = wiring.fds[pair];
  if (fd === undefined) throw new RangeError(`pair ${pair} of queues has no carrier`);
  return wiring.kind === "tap" ? new TapCarrier(fd) : new StreamCarrier(fd);
}

/**
 * Says for all pairs at once what the guest finishes on its own. From any thread.
 * @param offloads `TunOffload` flags
 * @throws SysError
 */
export function setOffloads(wiring: CarrierWiring, offloads: number): void {
  if (wiring.kind === "tap") for (const fd of wiring.fds) setTapOffloads(fd, offloads);
}

/** Shows the host's switches where a MAC address is now, as far as that can be done. From any thread. */
export function announceMac(wiring: CarrierWiring, mac: Uint8Array): void {
  // No switch lies behind a stream, and the thread that serves it may be within a frame.
  if (wiring.kind !== "tap") return;
  const frame = rarpFrame(mac);
  const { u8, address } = scratch();
  u8.fill(0, 0, VNET_HDR_BYTES);
  u8.set(frame, VNET_HDR_BYTES);
  for (const fd of wiring.fds) libc.write(fd, address, VNET_HDR_BYTES + frame.length);
}
