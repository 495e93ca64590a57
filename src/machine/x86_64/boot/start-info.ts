import type { GpaRange } from "../../acpi/topology.ts";
import { ByteWriter } from "../../byte-writer.ts";
import { CMDLINE, PVH_MEMORY_MAP, PVH_MODULE_LIST } from "../layout.ts";
import type { MemoryMapEntry } from "../memory-map.ts";
import { ACPI_BASE } from "../platform.ts";

/** Xen's public/arch-x86/hvm/start_info.h: "xEn3" with the top bit of the E set. */
const MAGIC = 0x336e_c578;
/** The first version with a memory map. */
const VERSION = 1;

/** `hvm_start_info`: where everything is that a PVH guest needs. 56 bytes. */
export function startInfo(memoryMapEntries: number, hasInitramfs: boolean): Uint8Array {
  const out = new ByteWriter(56);
  out.u32(MAGIC);
  out.u32(VERSION);
  out.u32(0);
  out.u32(hasInitramfs ? 1 : 0);
  out.u64(hasInitramfs ? PVH_MODULE_LIST : 0);
  out.u64(CMDLINE);
  out.u64(ACPI_BASE);
  out.u64(PVH_MEMORY_MAP);
  out.u32(memoryMapEntries);
  out.u32(0);
  return out.finish();
}

/** One `hvm_modlist_entry`: an initramfs without a command line of its own. 32 bytes. */
export function moduleList(initramfs: GpaRange): Uint8Array {
  const out = new ByteWriter(32);
  out.u64(initramfs.base);
  out.u64(initramfs.length);
  out.u64(0);
  out.u64(0);
  return out.finish();
}

/** The `hvm_memmap_table_entry` of each range. 24 bytes each. */
export function memoryMapTable(map: readonly MemoryMapEntry[]): Uint8Array {
  const out = new ByteWriter(24 * map.length);
  for (const { gpa, size, type } of map) {
    out.u64(gpa);
    out.u64(size);
    out.u32(type);
    out.u32(0);
  }
  return out.finish();
}
