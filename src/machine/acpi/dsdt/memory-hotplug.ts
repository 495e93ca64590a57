import type { Gpa } from "../../../memory/address.ts";
import { concatEach } from "../../byte-string.ts";
import { eisaId, text } from "../aml/data.ts";
import { ref } from "../aml/names.ts";
import { device, field, method, mutex, name, operationRegion } from "../aml/objects.ts";
import {
  add,
  arg,
  call,
  createQWordField,
  equal,
  increment,
  less,
  local,
  locked,
  loopWhile,
  notify,
  or,
  returnValue,
  shiftLeft,
  store,
  subtract,
  when,
} from "../aml/operators.ts";
import { QWORD_MEMORY_OFFSETS, qwordMemory, rangeAt, resourceTemplate } from "../aml/resources.ts";
import type { Term } from "../aml/term.ts";

/** Bytes of the memory hotplug register block. */
export const MEMORY_HOTPLUG_BYTES = 0x18;

/** Memory modules that can be added over the life of a VM. */
export const MEMORY_SLOTS = 8;

/** Notify codes (ACPI 6.5 section 5.6.6). */
const DEVICE_CHECK = 1;
const EJECT_REQUEST = 3;
/** `_STA`: present, enabled, shown and functioning. */
const PRESENT = 0x0f;

const slotName = (slot: number): string => `M${String(slot).padStart(3, "0")}`;

/**
 * `\_SB_.MHPC`: the registers behind memory hotplug and a memory device for each slot.
 * @param base the registers; without them the device stays, for the event controller calls its scan method
 */
export function memoryHotplugController(base: Gpa | undefined): Term {
  const identity = [name("_HID", eisaId("PNP0A06")), name("_UID", text("Memory Hotplug Controller"))];
  if (base === undefined) return device("\\_SB_.MHPC", ...identity, method("MSCN", 0, "Serialized"));
  return device("\\_SB_.MHPC", ...identity, ...registers(base), ...scanMethods(), readRange(), slotDevices());
}

const registers = (base: Gpa): Term[] => [
  mutex("MLCK"),
  name("_CRS", resourceTemplate(qwordMemory(rangeAt(base, MEMORY_HOTPLUG_BYTES), "uncached"))),
  operationRegion("MHPR", "SystemMemory", base, MEMORY_HOTPLUG_BYTES),
  field("MHPR", "DWordAcc", "Preserve", [
    ["MHBL", 32],
    ["MHBH", 32],
    ["MHLL", 32],
    ["MHLH", 32],
  ]),
  field("MHPR", "DWordAcc", "Preserve", [{ skipBits: 128 }, ["MHPX", 32]]),
  field("MHPR", "ByteAcc", "WriteAsZeros", [{ skipBits: 160 }, ["MEN_", 1], ["MINS", 1], ["MRMV", 1], ["MEJ0", 1]]),
  field("MHPR", "DWordAcc", "Preserve", [
    ["MSEL", 32],
    ["MOEV", 32],
    ["MOSC", 32],
  ]),
];

const scanMethods = (): Term[] => [
  method(
    "MSCN",
    0,
    "Serialized",
    locked(
      "MLCK",
      store(0, local(0)),
      loopWhile(
        less(local(0), MEMORY_SLOTS),
        store(local(0), ref("MSEL")),
        when(equal(ref("MINS"), 1), call("MTFY", local(0), DEVICE_CHECK), store(1, ref("MINS"))),
        when(equal(ref("MRMV"), 1), call("MTFY", local(0), EJECT_REQUEST), store(1, ref("MRMV"))),
        increment(local(0)),
      ),
    ),
  ),
  method(
    "MTFY",
    2,
    "Serialized",
    concatEach(MEMORY_SLOTS, (slot) => when(equal(arg(0), slot), notify(slotName(slot), arg(1)))),
  ),
  method(
    "MSTA",
    1,
    "Serialized",
    locked(
      "MLCK",
      store(arg(0), ref("MSEL")),
      store(0, local(0)),
      when(equal(ref("MEN_"), 1), store(PRESENT, local(0))),
    ),
    returnValue(local(0)),
  ),
];

/** A whole 64-bit range, the widest a descriptor holds: readRange replaces all of it. */
const ANY_RANGE = { min: 0n, max: 0xffff_ffff_ffff_fffen };

/** MCRS(slot): the slot's range as the resources of a memory device. */
const readRange = (): Term =>
  method(
    "MCRS",
    1,
    "Serialized",
    store(resourceTemplate(qwordMemory(ANY_RANGE, "cacheable")), local(0)),
    createQWordField(local(0), QWORD_MEMORY_OFFSETS.min, "MMIN"),
    createQWordField(local(0), QWORD_MEMORY_OFFSETS.max, "MMAX"),
    createQWordField(local(0), QWORD_MEMORY_OFFSETS.length, "MLEN"),
    locked(
      "MLCK",
      store(arg(0), ref("MSEL")),
      or(shiftLeft(ref("MHBH"), 32), ref("MHBL"), ref("MMIN")),
      or(shiftLeft(ref("MHLH"), 32), ref("MHLL"), ref("MLEN")),
    ),
    subtract(add(ref("MMIN"), ref("MLEN")), 1, ref("MMAX")),
    returnValue(local(0)),
  );

const slotDevices = (): Term =>
  concatEach(MEMORY_SLOTS, (slot) =>
    device(
      slotName(slot),
      name("_HID", eisaId("PNP0C80")),
      name("_UID", slot),
      method("_STA", 0, "NotSerialized", returnValue(call("MSTA", slot))),
      method("_CRS", 0, "Serialized", returnValue(call("MCRS", slot))),
    ),
  );
