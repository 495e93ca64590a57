import type { ByteWriter } from "../../byte-writer.ts";
import { TABLE_HEADER_BYTES, writeTable } from "../table.ts";

const REVISION = 6;
const MINOR_REVISION = 3;
const FADT_BYTES = 276;
const HYPERVISOR_VENDOR = "CLOUDHYP";

/** Offsets of the fields that are not zero (ACPI 6.5 table 5.9). */
const OFFSETS = {
  pm1aEventBlock: 56,
  pm1aControlBlock: 64,
  pm1EventLength: 88,
  pm1ControlLength: 89,
  flags: 112,
  resetRegister: 116,
  resetValue: 128,
  armBootArchitecture: 129,
  minorRevision: 131,
  xDsdt: 140,
  xPm1aEventBlock: 148,
  xPm1aControlBlock: 172,
  xPmTimerBlock: 208,
  sleepControlRegister: 244,
  sleepStatusRegister: 256,
  hypervisorVendor: 268,
} as const;

/** Fixed feature flags (ACPI 6.5 table 5.10). */
const TMR_VAL_EXT = 1 << 8;
const RESET_REG_SUP = 1 << 10;
const HW_REDUCED_ACPI = 1 << 20;

/** An I/O port register: the generic address structure (ACPI 6.5 section 5.2.3.2) in system I/O space. */
export interface PortRegister {
  readonly port: number;
  readonly bits: number;
  readonly access: "byte" | "word" | "dword";
}

const SYSTEM_IO = 1;
const ACCESS_SIZE = { byte: 1, word: 2, dword: 3 } as const;

export interface FadtFields {
  readonly dsdtGpa: number;
  /** Register and the value that resets the machine. */
  readonly reset?: { readonly register: PortRegister; readonly value: number };
  readonly sleepControl?: PortRegister;
  readonly sleepStatus?: PortRegister;
  readonly pmTimer?: PortRegister;
  readonly pm1aEvent?: PortRegister;
  readonly pm1aControl?: PortRegister;
  /** ARM boot architecture flags (ACPI 6.5 table 5.12). */
  readonly armBootArchitecture?: number;
}

/** Appends the fixed ACPI description table of a hardware-reduced machine (section 5.2.9). @returns its offset */
export const writeFadt = (out: ByteWriter, fields: FadtFields): number =>
  writeTable(out, { signature: "FACP", oemTableId: "CHFACP", revision: REVISION }, (body) => {
    const start = body.length - TABLE_HEADER_BYTES;
    body.zeros(FADT_BYTES - TABLE_HEADER_BYTES);
    const register = (offset: number, value: PortRegister | undefined): void => {
      if (value === undefined) return;
      body.setU8(start + offset, SYSTEM_IO);
      body.setU8(start + offset + 1, value.bits);
      body.setU8(start + offset + 3, ACCESS_SIZE[value.access]);
      body.setU64(start + offset + 4, value.port);
    };

    if (fields.pm1aEvent !== undefined) {
      body.setU32(start + OFFSETS.pm1aEventBlock, fields.pm1aEvent.port);
      body.setU8(start + OFFSETS.pm1EventLength, fields.pm1aEvent.bits / 8);
    }
    if (fields.pm1aControl !== undefined) {
      body.setU32(start + OFFSETS.pm1aControlBlock, fields.pm1aControl.port);
      body.setU8(start + OFFSETS.pm1ControlLength, fields.pm1aControl.bits / 8);
    }
    body.setU32(start + OFFSETS.flags, HW_REDUCED_ACPI | RESET_REG_SUP | TMR_VAL_EXT);
    register(OFFSETS.resetRegister, fields.reset?.register);
    body.setU8(start + OFFSETS.resetValue, fields.reset?.value ?? 0);
    body.setU16(start + OFFSETS.armBootArchitecture, fields.armBootArchitecture ?? 0);
    body.setU8(start + OFFSETS.minorRevision, MINOR_REVISION);
    body.setU64(start + OFFSETS.xDsdt, fields.dsdtGpa);
    register(OFFSETS.xPm1aEventBlock, fields.pm1aEvent);
    register(OFFSETS.xPm1aControlBlock, fields.pm1aControl);
    register(OFFSETS.xPmTimerBlock, fields.pmTimer);
    register(OFFSETS.sleepControlRegister, fields.sleepControl);
    register(OFFSETS.sleepStatusRegister, fields.sleepStatus);
    for (let i = 0; i < HYPERVISOR_VENDOR.length; i++)
      body.setU8(start + OFFSETS.hypervisorVendor + i, HYPERVISOR_VENDOR.charCodeAt(i));
  });
