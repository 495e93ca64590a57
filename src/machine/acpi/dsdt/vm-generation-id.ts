import type { Gpa } from "../../../memory/address.ts";
import { packageOf, text } from "../aml/data.ts";
import { device, method, name } from "../aml/objects.ts";
import { returnValue } from "../aml/operators.ts";
import type { Term } from "../aml/term.ts";

const HIGH = 0x1_0000_0000;

/** Path of the device, for the notification that the identifier has changed. */
export const VM_GENERATION_ID_PATH = "\\_SB_.VGEN";

/** `_STA`: present, enabled and functioning. */
const PRESENT = 0x0b;

/**
 * `\_SB_.VGEN`: where 16 bytes identify this run of the machine, which differ from those of every other run ("Virtual Machine
 * Generation ID", Microsoft). The compatible identifiers are what drivers look for: a method gives them, since the first
 * is longer than a name of ACPI may be.
 */
export const vmGenerationId = (address: Gpa): Term =>
  device(
    VM_GENERATION_ID_PATH,
    name("_HID", text("CLDH0001")),
    method("_CID", 0, "Serialized", returnValue(packageOf(text("VM_Gen_Counter"), text("VMGENCTR")))),
    name("_DDN", text("VM_Gen_Counter")),
    name("_STA", PRESENT),
    name("ADDR", packageOf(address % HIGH, Math.floor(address / HIGH))),
  );
