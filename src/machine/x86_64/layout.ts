import { type Gpa, gpa } from "../../memory/address.ts";
import type { GpaRange } from "../acpi/topology.ts";
import { ACPI_BASE } from "./platform.ts";

/** The word that names the segment of the extended BIOS data area. */
export const EBDA_POINTER: Gpa = gpa(0x40e);
/** The segment it names: where the ACPI tables start, since Linux looks for the RSDP there as well. */
export const EBDA_SEGMENT = ACPI_BASE >> 4;
export const BOOT_GDT: Gpa = gpa(0x500);
export const BOOT_IDT: Gpa = gpa(0x520);
export const PVH_START_INFO: Gpa = gpa(0x6000);
export const PVH_MODULE_LIST: Gpa = gpa(0x6040);
/** Shares its place with the zero page: a boot uses one or the other. */
export const PVH_MEMORY_MAP: Gpa = gpa(0x7000);
export const ZERO_PAGE: Gpa = gpa(0x7000);
/** Linux boot protocol only; the stack grows down from here. */
export const BOOT_STACK_TOP: Gpa = gpa(0x8ff0);
export const CMDLINE: Gpa = gpa(0x2_0000);
/** Bytes for the command line, its NUL included. */
export const CMDLINE_BYTES = 0x1_0000;
/** The end of the first RAM range that the guest is told of. */
export const LOW_RAM_MAP_END: Gpa = ACPI_BASE;
/** The second one starts here, and kernels and firmware lie above it. */
export const HIGH_RAM: Gpa = gpa(0x10_0000);

/** The end of RAM below 4 GiB, and the start of BARs there. */
export const RAM_HOLE: Gpa = gpa(0xc000_0000);
/** RAM goes on here. */
export const RAM_ABOVE_HOLE: Gpa = gpa(0x1_0000_0000);
/** BARs below 4 GiB, divided among the PCI segments. */
export const PCI_MMIO32: GpaRange = { base: RAM_HOLE, length: 0x2800_0000 };
/** Configuration space: 1 MiB for each segment, in the order of their numbers. */
export const PCI_ECAM: GpaRange = { base: gpa(0xe800_0000), length: 0x1000_0000 };
/** Three pages for KVM on Intel (KVM_SET_TSS_ADDR). */
export const KVM_TSS: Gpa = gpa(0xf800_0000);
/** One page for KVM on Intel (KVM_SET_IDENTITY_MAP_ADDR). */
export const KVM_IDENTITY_MAP: Gpa = gpa(0xf800_3000);

/** Kept free at the top of the address space, so that its usable part ends on a boundary of 64 KiB. */
export const TOP_RESERVED_BYTES = 0x1_0000;
/** The area of the platform's own registers, below that. */
export const PLATFORM_AREA_BYTES = 0x10_0000;
/** Sections of hot-pluggable memory. */
export const HOTPLUG_ALIGNMENT = 0x800_0000;
