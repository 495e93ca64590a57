import { byte, concat, concatEach } from "../../byte-string.ts";
import { buffer, eisaId, packageOf, packageOfEach, toUuid } from "../aml/data.ts";
import { ref } from "../aml/names.ts";
import { device, method, name } from "../aml/objects.ts";
import { and, arg, call, equal, locked, notify, returnValue, store, when } from "../aml/operators.ts";
import {
  memory32Fixed,
  qwordMemory,
  type Resource,
  rangeAt,
  resourceTemplate,
  wordBusNumber,
} from "../aml/resources.ts";
import type { Term } from "../aml/term.ts";
import { ECAM_BYTES_PER_BUS, type GpaRange, PCI_SLOTS, type PciSegment } from "../topology.ts";

/** Legacy interrupts of PCI slots: slot n uses GSI `firstGsi` + n mod 8. */
const INTX_GSI_COUNT = 8;

/** What a host bridge's `_CRS` holds besides bus number, ECAM and memory. */
export interface HostBridgePorts {
  /** Ports of the configuration mechanism. */
  readonly configuration: readonly Resource[];
  /** Windows passed on to devices. */
  readonly windows: readonly Resource[];
}

const NO_PORTS: HostBridgePorts = { configuration: [], windows: [] };

/** The name of a segment's host bridge: "PC" and two hexadecimal digits. */
export const hostBridgeName = (segment: number): string => `PC${segment.toString(16).toUpperCase().padStart(2, "0")}`;

/**
 * The host bridges `\_SB_.PC00` on, one for each segment.
 * @param firstIntxGsi the GSI of the legacy interrupt of slot 0
 * @param nodeOf the NUMA node of a segment
 * @param portsOfSegment0 I/O resources, which only segment 0 has
 */
export function pciHostBridges(
  segments: readonly PciSegment[],
  firstIntxGsi: number,
  nodeOf: (segment: number) => number,
  portsOfSegment0: HostBridgePorts = NO_PORTS,
): Term {
  const bootConfiguration = keepBootConfiguration();
  const slots = slotObjects(firstIntxGsi);
  return concatEach(segments.length, (number) => {
    const segment = segments[number];
    if (segment === undefined) throw new RangeError(`PCI segment ${number} is missing`);
    const path = `\\_SB_.${hostBridgeName(number)}`;
    return concat([
      device(
        path,
        name("_HID", eisaId("PNP0A08")),
        name("_CID", eisaId("PNP0A03")),
        name("_SEG", number),
        name("_UID", number),
        name("_CCA", 1),
        name("SUPP", 0),
        method("_PXM", 0, "NotSerialized", returnValue(nodeOf(number))),
        bootConfiguration,
        name("_CRS", hostBridgeResources(segment, number === 0 ? portsOfSegment0 : NO_PORTS)),
        slots,
      ),
      // ACPI 6.5 section 6.1 gives a device _HID or _ADR; these bridges have always had both. Beside the device, where
      // iasl does not object to it, the name is in the same place.
      name(`${path}._ADR`, 0),
    ]);
  });
}

const PCI_DSM_UUID = "E5C937D0-3553-4D7A-9117-EA4D19C3434D";
const DSM_FUNCTIONS = 0;
const DSM_BOOT_CONFIGURATION = 5;

/**
 * `_DSM` (PCI Firmware 3.3 section 4.6): function 5 answers 0, which makes the operating system keep the assignments
 * it finds, and function 0 says that only function 5 exists.
 */
const keepBootConfiguration = (): Term =>
  method(
    "_DSM",
    4,
    "NotSerialized",
    when(
      equal(arg(0), toUuid(PCI_DSM_UUID)),
      when(
        equal(arg(2), DSM_FUNCTIONS),
        returnValue(buffer(byte((1 << DSM_FUNCTIONS) | (1 << DSM_BOOT_CONFIGURATION)))),
      ),
      when(equal(arg(2), DSM_BOOT_CONFIGURATION), returnValue(0)),
    ),
    returnValue(buffer(byte(0))),
  );

function hostBridgeResources(segment: PciSegment, ports: HostBridgePorts): Term {
  const window = ({ base, length }: GpaRange): Resource[] =>
    length > 0 ? [qwordMemory(rangeAt(base, length), "uncached")] : [];
  return resourceTemplate(
    wordBusNumber({ min: 0, max: 0 }),
    ...ports.configuration,
    memory32Fixed(segment.ecamBase, ECAM_BYTES_PER_BUS),
    ...window(segment.mmio32),
    ...window(segment.mmio64),
    ...ports.windows,
  );
}

/** Notify codes (ACPI 6.5 section 5.6.6). */
const DEVICE_CHECK = 1;
const EJECT_REQUEST = 3;

const slotName = (slot: number): string => `S${String(slot).padStart(3, "0")}`;

/** What a host bridge says of its slots, which is the same for every segment. */
function slotObjects(firstIntxGsi: number): Term {
  const eject = method("_EJ0", 1, "Serialized", call("\\_SB_.PHPR.PCEJ", ref("_SUN"), ref("_SEG")));
  return concat([
    concatEach(PCI_SLOTS, (slot) => device(slotName(slot), name("_SUN", slot), name("_ADR", slot * 0x1_0000), eject)),
    method(
      "DVNT",
      2,
      "Serialized",
      concatEach(PCI_SLOTS, (slot) => when(and(arg(0), 2 ** slot), notify(slotName(slot), arg(1)))),
    ),
    method(
      "PCNT",
      0,
      "Serialized",
      locked(
        "\\_SB_.PHPR.BLCK",
        store(ref("_SEG"), ref("\\_SB_.PHPR.PSEG")),
        call("DVNT", ref("\\_SB_.PHPR.PCIU"), DEVICE_CHECK),
        call("DVNT", ref("\\_SB_.PHPR.PCID"), EJECT_REQUEST),
      ),
    ),
    name(
      "_PRT",
      packageOfEach(
        PCI_SLOTS,
        concatEach(PCI_SLOTS, (slot) =>
          packageOf(slot * 0x1_0000 + 0xffff, 0, 0, firstIntxGsi + (slot % INTX_GSI_COUNT)),
        ),
      ),
    ),
  ]);
}
