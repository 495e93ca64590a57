import type { Gpa } from "../../../memory/address.ts";
import { concatEach } from "../../byte-string.ts";
import { eisaId, text } from "../aml/data.ts";
import { ref } from "../aml/names.ts";
import { device, field, method, mutex, name, operationRegion } from "../aml/objects.ts";
import {
  arg,
  call,
  equal,
  increment,
  less,
  local,
  locked,
  loopWhile,
  notify,
  returnValue,
  store,
  when,
} from "../aml/operators.ts";
import { qwordMemory, rangeAt, resourceTemplate } from "../aml/resources.ts";
import type { Term } from "../aml/term.ts";

/** Bytes of the CPU hotplug register block. */
export const CPU_HOTPLUG_BYTES = 0x0c;

/** CPU objects are named with three hexadecimal digits. */
export const MAX_CPU_OBJECTS = 0x1000;

const LOCK = "\\_SB_.PRES.CPLK";
const SELECTED = ref("\\_SB_.PRES.CSEL");
const ENABLED = ref("\\_SB_.PRES.CPEN");
const INSERTING = ref("\\_SB_.PRES.CINS");
const REMOVING = ref("\\_SB_.PRES.CRMV");
const EJECT = ref("\\_SB_.PRES.CEJ0");

/** Notify codes (ACPI 6.5 section 5.6.6). */
const DEVICE_CHECK = 1;
const EJECT_REQUEST = 3;
/** `_STA`: present, enabled, shown and functioning. */
const PRESENT = 0x0f;

/** `\_SB_.PRES`: the registers behind CPU hotplug, one selected CPU at a time. */
export const cpuHotplugController = (base: Gpa): Term =>
  device(
    "\\_SB_.PRES",
    name("_HID", eisaId("PNP0A06")),
    name("_UID", text("CPU Hotplug Controller")),
    mutex("CPLK"),
    name("_CRS", resourceTemplate(qwordMemory(rangeAt(base, CPU_HOTPLUG_BYTES), "uncached"))),
    operationRegion("PRST", "SystemMemory", base, CPU_HOTPLUG_BYTES),
    field("PRST", "ByteAcc", "WriteAsZeros", [
      { skipBits: 32 },
      ["CPEN", 1],
      ["CINS", 1],
      ["CRMV", 1],
      ["CEJ0", 1],
      { skipBits: 4 },
      ["CCMD", 8],
    ]),
    field("PRST", "DWordAcc", "Preserve", [["CSEL", 32], { skipBits: 32 }, ["CDAT", 32]]),
  );

/** The name of a CPU object: "C" and three hexadecimal digits. */
export const cpuName = (index: number): string => `C${index.toString(16).toUpperCase().padStart(3, "0")}`;

/**
 * `\_SB_.CPUS`: an object for each CPU there can be, and the methods that look for changes.
 * @param objectsOf what the architecture says of a CPU, besides `_HID` and `_UID`
 * @throws RangeError for more CPUs than there are names
 */
export function cpuContainer(cpuCount: number, objectsOf: (index: number) => Term): Term {
  if (cpuCount > MAX_CPU_OBJECTS)
    throw new RangeError(`${cpuCount} CPUs: ACPI names at most ${MAX_CPU_OBJECTS} here; lower the maximum of --cpus`);
  return device(
    "\\_SB_.CPUS",
    name("_HID", text("ACPI0010")),
    name("_CID", eisaId("PNP0A05")),
    method(
      "CSTA",
      1,
      "Serialized",
      locked(LOCK, store(arg(0), SELECTED), store(0, local(0)), when(equal(ENABLED, 1), store(PRESENT, local(0)))),
      returnValue(local(0)),
    ),
    method(
      "CTFY",
      2,
      "Serialized",
      concatEach(cpuCount, (index) => when(equal(arg(0), index), notify(cpuName(index), arg(1)))),
    ),
    method("CEJ0", 1, "Serialized", locked(LOCK, store(arg(0), SELECTED), store(1, EJECT))),
    method(
      "CSCN",
      0,
      "Serialized",
      locked(
        LOCK,
        store(0, local(0)),
        loopWhile(
          less(local(0), cpuCount),
          store(local(0), SELECTED),
          when(equal(INSERTING, 1), call("CTFY", local(0), DEVICE_CHECK), store(1, INSERTING)),
          when(equal(REMOVING, 1), call("CTFY", local(0), EJECT_REQUEST), store(1, REMOVING)),
          increment(local(0)),
        ),
      ),
    ),
    concatEach(cpuCount, (index) =>
      device(cpuName(index), name("_HID", text("ACPI0007")), name("_UID", index), objectsOf(index)),
    ),
  );
}
