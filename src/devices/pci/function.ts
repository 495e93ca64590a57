import type { BusAccess } from "../bus.ts";
import type { AddressRange, Bar } from "./bar.ts";

/** A PCI function as one thread sees it. All methods are called on the thread of the vCPU that makes the access. */
export interface PciFunction {
  readonly bars: readonly Bar[];
  /** Guest addresses that the function takes up besides its BARs, where no BAR may be moved. */
  readonly memory?: AddressRange | undefined;
  /**
   * Reads configuration space.
   * @param offset 0 to 4095
   * @param size 1, 2 or 4 bytes, all in one dword
   */
  readConfig(offset: number, size: number): number;
  /** Writes configuration space. Conditions as for `readConfig`. */
  writeConfig(offset: number, size: number, value: number): void;
  /** Answers a read at `access.offset` of BAR `bar`, as a `BusDevice` does. It may reach beyond the BAR's end. */
  readBar(bar: number, access: BusAccess): void;
  /** Takes a write likewise. */
  writeBar(bar: number, access: BusAccess): void;
}
