import type { Gpa } from "../../../memory/address.ts";
import { concat } from "../../byte-string.ts";
import { eisaId, text } from "../aml/data.ts";
import { ref } from "../aml/names.ts";
import { device, field, method, name, operationRegion } from "../aml/objects.ts";
import { and, call, local, notify, store, when } from "../aml/operators.ts";
import { edgeInterrupt, resourceTemplate } from "../aml/resources.ts";
import type { Term } from "../aml/term.ts";
import { VM_GENERATION_ID_PATH } from "./vm-generation-id.ts";

/** Bits of the event register. */
const CPU_HOTPLUG = 1 << 0;
const MEMORY_HOTPLUG = 1 << 1;
const PCI_HOTPLUG = 1 << 2;
const POWER_BUTTON = 1 << 3;
const VM_GENERATION = 1 << 4;
/** Notify code of a power button that was pressed (ACPI 6.5 table 5.174). */
const BUTTON_PRESSED = 0x80;
/** Notify code of a VM generation identifier that has changed. */
const ID_CHANGED = 0x80;

/**
 * `\_SB_.GEC_`, which reads the pending events and passes each on, and `\_SB_.GED_`, the generic event device (ACPI 6.5
 * section 5.6.9) that calls it on an interrupt.
 * @param base the event register, one byte
 */
export const eventDevices = (base: Gpa, gsi: number): Term =>
  concat([
    device(
      "\\_SB_.GEC_",
      name("_HID", eisaId("PNP0A06")),
      name("_UID", text("Generic Event Controller")),
      operationRegion("GDST", "SystemMemory", base, 1),
      field("GDST", "ByteAcc", "WriteAsZeros", [["GDAT", 8]]),
      method(
        "ESCN",
        0,
        "Serialized",
        store(ref("GDAT"), local(0)),
        when(and(local(0), CPU_HOTPLUG), call("\\_SB_.CPUS.CSCN")),
        when(and(local(0), MEMORY_HOTPLUG), call("\\_SB_.MHPC.MSCN")),
        when(and(local(0), PCI_HOTPLUG), call("\\_SB_.PHPR.PSCN")),
        when(and(local(0), POWER_BUTTON), notify("\\_SB_.PWRB", BUTTON_PRESSED)),
        when(and(local(0), VM_GENERATION), notify(VM_GENERATION_ID_PATH, ID_CHANGED)),
      ),
    ),
    device(
      "\\_SB_.GED_",
      name("_HID", text("ACPI0013")),
      name("_UID", 0),
      name("_CRS", resourceTemplate(edgeInterrupt(gsi))),
      method("_EVT", 1, "Serialized", call("\\_SB_.GEC_.ESCN")),
    ),
  ]);
