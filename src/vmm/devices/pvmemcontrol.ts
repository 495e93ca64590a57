import { PVMEMCONTROL_BAR_BYTES, Pvmemcontrol } from "../../devices/pvmemcontrol/device.ts";
import type { PciBuilder } from "./builder.ts";

const PVMEMCONTROL_ID = "__pvmemcontrol";

/** Places the memory control device. */
export function placePvmemcontrol(builder: PciBuilder): void {
  const id = builder.id(PVMEMCONTROL_ID);
  const block = builder.block(Pvmemcontrol.blockSize);
  const state = builder.block(Pvmemcontrol.stateSize);
  const bar0 = builder.bar("memory32", PVMEMCONTROL_BAR_BYTES);
  builder.wiring = { kind: "pvmemcontrol", slot: builder.slot({}), device: { id, block, state, bar0 } };
}
