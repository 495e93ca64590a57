import { PVPANIC_BAR_BYTES, Pvpanic } from "../../devices/pvpanic.ts";
import type { PciBuilder } from "./builder.ts";

const PVPANIC_ID = "__pvpanic";

/** Places the panic notification device. */
export function placePvpanic(builder: PciBuilder): void {
  const id = builder.id(PVPANIC_ID);
  const block = builder.block(Pvpanic.blockSize);
  const bar0 = builder.bar("memory32", PVPANIC_BAR_BYTES);
  builder.wiring = { kind: "pvpanic", slot: builder.slot({}), device: { id, block, bar0 } };
}
