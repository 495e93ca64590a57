import type { Gpa } from "../../../memory/address.ts";
import type { GpaRange } from "../../acpi/topology.ts";
import {
  BOOT_GDT,
  BOOT_IDT,
  CMDLINE,
  EBDA_POINTER,
  EBDA_SEGMENT,
  PVH_MEMORY_MAP,
  PVH_MODULE_LIST,
  PVH_START_INFO,
  ZERO_PAGE,
} from "../layout.ts";
import { encodeCmdline } from "../loader/cmdline.ts";
import type { LoadedKernel } from "../loader/kernel.ts";
import { e820MemoryMap, pvhMemoryMap } from "../memory-map.ts";
import { type RamRun, ramEnd } from "../ram-placement.ts";
import { bootGdt, bootIdt } from "./segments.ts";
import { memoryMapTable, moduleList, startInfo } from "./start-info.ts";
import { zeroPage } from "./zero-page.ts";

/** Bytes for guest memory. */
export interface BootDatum {
  readonly gpa: Gpa;
  readonly bytes: Uint8Array;
}

/** What a kernel is told. */
export interface BootDataInputs {
  readonly kernel: LoadedKernel;
  /** Undefined for firmware, which gets none. */
  readonly cmdline: string | undefined;
  readonly initramfs: GpaRange | undefined;
  /** Boot RAM, ascending. */
  readonly ram: readonly RamRun[];
}

/**
 * The structures in low memory that a kernel or firmware is entered with, ACPI, SMBIOS and MP tables apart.
 * @throws BootSpaceError where the command line does not fit
 */
export function bootData({ kernel, cmdline, initramfs, ram }: BootDataInputs): BootDatum[] {
  const data: BootDatum[] = [
    { gpa: EBDA_POINTER, bytes: Uint8Array.of(EBDA_SEGMENT & 0xff, EBDA_SEGMENT >> 8) },
    { gpa: BOOT_GDT, bytes: bootGdt() },
    { gpa: BOOT_IDT, bytes: bootIdt() },
  ];
  if (cmdline !== undefined) data.push({ gpa: CMDLINE, bytes: encodeCmdline(cmdline) });
  if (kernel.protocol === "pvh") {
    const memoryMap = pvhMemoryMap(ram);
    data.push({ gpa: PVH_START_INFO, bytes: startInfo(memoryMap.length, initramfs !== undefined) });
    if (initramfs !== undefined) data.push({ gpa: PVH_MODULE_LIST, bytes: moduleList(initramfs) });
    data.push({ gpa: PVH_MEMORY_MAP, bytes: memoryMapTable(memoryMap) });
  } else {
    const memoryMap = e820MemoryMap(ramEnd(ram));
    const { setupHeader, entry: loadAddress } = kernel;
    data.push({ gpa: ZERO_PAGE, bytes: zeroPage({ setupHeader, loadAddress, initramfs, memoryMap }) });
  }
  return data;
}
