import type { Gpa } from "../../../memory/address.ts";
import { concatEach } from "../../byte-string.ts";
import { eisaId, text } from "../aml/data.ts";
import { ref } from "../aml/names.ts";
import { device, field, method, mutex, name, operationRegion } from "../aml/objects.ts";
import { arg, call, locked, returnValue, shiftLeft, store } from "../aml/operators.ts";
import { qwordMemory, rangeAt, resourceTemplate } from "../aml/resources.ts";
import type { Term } from "../aml/term.ts";
import { hostBridgeName } from "./pci-host-bridge.ts";

/** Bytes of the register block: slots plugged, slots to unplug, slot to eject, selected segment; 32 bits each. */
export const PCI_HOTPLUG_BYTES = 0x10;

/** `_STA`: present, enabled and functioning, not shown. */
const PRESENT_HIDDEN = 0x0b;

/** `\_SB_.PHPR`: the registers behind PCI hotplug of every segment, one segment at a time. */
export const pciHotplugController = (base: Gpa, segmentCount: number): Term =>
  device(
    "\\_SB_.PHPR",
    name("_HID", eisaId("PNP0A06")),
    name("_STA", PRESENT_HIDDEN),
    name("_UID", text("PCI Hotplug Controller")),
    mutex("BLCK"),
    name("_CRS", resourceTemplate(qwordMemory(rangeAt(base, PCI_HOTPLUG_BYTES), "uncached"))),
    operationRegion("PCST", "SystemMemory", base, PCI_HOTPLUG_BYTES),
    field("PCST", "DWordAcc", "WriteAsZeros", [
      ["PCIU", 32],
      ["PCID", 32],
      ["B0EJ", 32],
      ["PSEG", 32],
    ]),
    method(
      "PCEJ",
      2,
      "Serialized",
      locked("BLCK", store(arg(1), ref("PSEG")), shiftLeft(1, arg(0), ref("B0EJ"))),
      returnValue(0),
    ),
    method(
      "PSCN",
      0,
      "Serialized",
      concatEach(segmentCount, (segment) => call(`\\_SB_.${hostBridgeName(segment)}.PCNT`)),
    ),
  );
