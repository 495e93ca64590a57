import { type Gpa, gpa } from "../../memory/address.ts";

/** Ports of the x86-64 machine. */
export const PORTS = {
  i8042: { base: 0x61, count: 4 },
  cmos: { base: 0x70, count: 2 },
  debug: 0x80,
  serial: { base: 0x3f8, count: 8 },
  firmwareDebug: 0x402,
  fwCfg: { base: 0x510, count: 0x0c },
  /** Reset and sleep control. */
  power: 0x600,
  pmTimer: 0x608,
  /** Named for nested Windows; nothing is behind them. */
  pm1aEvent: 0x60c,
  pm1aControl: 0x610,
  pciConfiguration: { base: 0xcf8, count: 8 },
} as const;

/** What, written to the power port, resets the machine. */
export const RESET_VALUE = 1;

/** Global system interrupts, which are the pins of the I/O APIC. */
export const GSI = {
  serial: 4,
  /** PCI slot n has legacy interrupt `firstIntx` + n mod 8. */
  firstIntx: 5,
  events: 13,
} as const;

/** Where the ACPI tables start. From here to 1 MiB is RAM that no memory map offers to the guest. */
export const ACPI_BASE: Gpa = gpa(0xa_0000);
/** Where firmware and operating systems look for the SMBIOS entry point. The MP table follows it. */
export const SMBIOS_BASE: Gpa = gpa(0xf_0000);
/** The page of the VM generation identifier, which nothing else may be in. */
export const VM_GENERATION_ID: Gpa = gpa(0xf_f000);
/** Where SMBIOS and the MP table must end. */
export const LOW_TABLES_LIMIT: Gpa = VM_GENERATION_ID;

export const LOCAL_APIC_BASE: Gpa = gpa(0xfee0_0000);
export const IO_APIC_BASE: Gpa = gpa(0xfec0_0000);
export const TPM_BASE: Gpa = gpa(0xfed4_0000);
