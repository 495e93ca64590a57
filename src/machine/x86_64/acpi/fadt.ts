import { type PortRegister, writeFadt } from "../../acpi/tables/fadt.ts";
import type { ByteWriter } from "../../byte-writer.ts";
import { PORTS, RESET_VALUE } from "../platform.ts";

const POWER: PortRegister = { port: PORTS.power, bits: 8, access: "byte" };
const PM_TIMER: PortRegister = { port: PORTS.pmTimer, bits: 32, access: "dword" };
const PM1A_EVENT: PortRegister = { port: PORTS.pm1aEvent, bits: 32, access: "word" };
const PM1A_CONTROL: PortRegister = { port: PORTS.pm1aControl, bits: 16, access: "word" };

/** Appends the FADT of an x86-64 machine. @returns its offset */
export const writeX86Fadt = (out: ByteWriter, dsdtGpa: number, nestedHyperV: boolean): number =>
  writeFadt(out, {
    dsdtGpa,
    reset: { register: POWER, value: RESET_VALUE },
    sleepControl: POWER,
    sleepStatus: POWER,
    pmTimer: PM_TIMER,
    ...(nestedHyperV ? { pm1aEvent: PM1A_EVENT, pm1aControl: PM1A_CONTROL } : {}),
  });
