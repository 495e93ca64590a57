import type { GpaRange } from "../../acpi/topology.ts";
import { CMDLINE, CMDLINE_BYTES } from "../layout.ts";
import { SetupHeader } from "../loader/bzimage.ts";
import type { MemoryMapEntry } from "../memory-map.ts";
import { ACPI_BASE } from "../platform.ts";

/** Linux Documentation/arch/x86/zero-page.rst; fields of the setup header keep their offsets in the image. */
const ZERO_PAGE_BYTES = 4096;
const ACPI_RSDP_ADDR = 0x070;
const E820_ENTRIES = 0x1e8;
const E820_TABLE = 0x2d0;
const E820_ENTRY_BYTES = 20;
/** Boot loaders without an assigned number. */
const LOADER_UNDEFINED = 0xff;

/** What the zero page follows from. */
export interface ZeroPageInputs {
  /** Of the image, from `SetupHeader.START` on. */
  readonly setupHeader: Uint8Array;
  readonly loadAddress: number;
  readonly initramfs: GpaRange | undefined;
  readonly memoryMap: readonly MemoryMapEntry[];
}

/** `boot_params` of the Linux boot protocol. 4096 bytes. */
export function zeroPage({ setupHeader, loadAddress, initramfs, memoryMap }: ZeroPageInputs): Uint8Array {
  const page = new Uint8Array(ZERO_PAGE_BYTES);
  const view = new DataView(page.buffer);
  page.set(setupHeader, SetupHeader.START);
  if (view.getUint8(SetupHeader.TYPE_OF_LOADER) === 0) view.setUint8(SetupHeader.TYPE_OF_LOADER, LOADER_UNDEFINED);
  view.setUint32(SetupHeader.CODE32_START, loadAddress, true);
  if (initramfs !== undefined) {
    view.setUint32(SetupHeader.RAMDISK_IMAGE, initramfs.base, true);
    view.setUint32(SetupHeader.RAMDISK_SIZE, initramfs.length, true);
  }
  view.setUint32(SetupHeader.CMD_LINE_PTR, CMDLINE, true);
  view.setUint32(SetupHeader.CMDLINE_SIZE, CMDLINE_BYTES, true);
  view.setBigUint64(ACPI_RSDP_ADDR, BigInt(ACPI_BASE), true);
  view.setUint8(E820_ENTRIES, memoryMap.length);
  memoryMap.forEach(({ gpa, size, type }, i) => {
    const at = E820_TABLE + i * E820_ENTRY_BYTES;
    view.setBigUint64(at, BigInt(gpa), true);
    view.setBigUint64(at + 8, BigInt(size), true);
    view.setUint32(at + 16, type, true);
  });
  return page;
}
