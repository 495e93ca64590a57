import { closeSync, constants, fstatSync, openSync } from "node:fs";
import type { RngConfig } from "../../config/schema/virtio-devices.ts";
import { rngDevice } from "../../devices/virtio/rng/device.ts";
import type { PciBuilder } from "./builder.ts";

const RNG_ID = "__rng";

/** A FIFO or a terminal must neither keep us waiting nor become ours. */
const OPEN_SOURCE = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

/** A source of entropy that cannot be had. */
export class EntropySourceError extends Error {
  override readonly name = "EntropySourceError";
}

/** Places the entropy device. @throws EntropySourceError */
export function placeRng(builder: PciBuilder, config: RngConfig): void {
  const sourceFd = builder.descriptors.own(openSource(config.src));
  const transport = builder.transport(builder.id(config.id ?? RNG_ID), rngDevice);
  const gate = builder.gates(1, config.rate_limiter_config)?.[0];
  builder.wiring = { kind: "rng", slot: builder.slot(config), device: { transport, sourceFd, gate } };
}

/** @throws EntropySourceError */
function openSource(path: string): number {
  const advice = `cannot read the source of entropy '${path}': give --rng another src`;
  let fd: number;
  try {
    fd = openSync(path, OPEN_SOURCE);
  } catch (cause) {
    throw new EntropySourceError(advice, { cause });
  }
  if (!fstatSync(fd).isDirectory()) return fd;
  closeSync(fd);
  throw new EntropySourceError(`${advice}, which is no directory`);
}
