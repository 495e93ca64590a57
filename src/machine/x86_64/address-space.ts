import { type Gpa, gpa } from "../../memory/address.ts";
import type { GpaRange } from "../acpi/topology.ts";
import { HOTPLUG_ALIGNMENT, PLATFORM_AREA_BYTES, RAM_ABOVE_HOLE, RAM_HOLE, TOP_RESERVED_BYTES } from "./layout.ts";

const PAGE = 0x1000;

/** The end of what devices may use: all registers of the platform lie below, and 64 KiB above stay free. */
const usableTop = (physicalAddressBits: number): number => 2 ** physicalAddressBits - TOP_RESERVED_BYTES;

/** Where RAM and BARs end, and the registers of the platform begin. */
export const addressSpaceEnd = (physicalAddressBits: number): Gpa =>
  gpa(usableTop(physicalAddressBits) - PLATFORM_AREA_BYTES);

/** Memory that can be added while the guest runs. Sizes in bytes, multiples of 128 MiB. */
export type MemoryHotplug =
  /** `hotplug_size` of the default zone, as ACPI memory devices. */
  | { readonly method: "acpi"; readonly size: number }
  /** `hotplug_size` of the default zone, as one virtio-mem device. */
  | { readonly method: "virtio-mem"; readonly size: number }
  /** `hotplug_size` of each user-defined zone in their order, as virtio-mem devices; 0 where a zone has none. */
  | { readonly method: "virtio-mem-zones"; readonly sizes: readonly number[] };

/** The guest's addresses above RAM. */
export interface AddressSpace {
  /** Where ACPI memory devices appear. */
  readonly hotplugWindow: GpaRange | undefined;
  /** Of the default zone one; of user-defined zones one each, undefined where a zone cannot grow. */
  readonly virtioMem: readonly (GpaRange | undefined)[];
  /** BARs above 4 GiB, divided among the PCI segments. */
  readonly deviceArea: GpaRange;
  readonly controllers: ControllerAddresses;
}

/** Where the registers of the platform's own devices lie. */
export interface ControllerAddresses {
  /** Only with ACPI memory hotplug. */
  readonly memoryHotplug: Gpa | undefined;
  readonly pciHotplug: Gpa;
  readonly cpuHotplug: Gpa;
  /** The event register. */
  readonly events: Gpa;
}

/** The address space has no room for what is to be in it. */
export class AddressSpaceError extends Error {
  override readonly name = "AddressSpaceError";
}

/**
 * Divides what lies above RAM: room for hot-pluggable memory, then the device area.
 * @param ramEnd where boot RAM ends
 * @throws AddressSpaceError saying what to change
 */
export function divideAddressSpace(
  ramEnd: Gpa,
  physicalAddressBits: number,
  hotplug: MemoryHotplug | undefined,
): AddressSpace {
  const virtioMem: (GpaRange | undefined)[] = [];
  let hotplugWindow: GpaRange | undefined;
  let at = aboveRam(ramEnd, hotplug !== undefined && hotplug.method !== "virtio-mem-zones");
  const take = (size: number): GpaRange => {
    const range = { base: at, length: size };
    at = gpa(at + size);
    return range;
  };
  switch (hotplug?.method) {
    case "acpi":
      hotplugWindow = take(hotplug.size);
      break;
    case "virtio-mem":
      virtioMem.push(take(hotplug.size));
      break;
    case "virtio-mem-zones":
      for (const size of hotplug.sizes) {
        if (size > 0) at = gpa(alignUp(at, HOTPLUG_ALIGNMENT));
        virtioMem.push(size > 0 ? take(size) : undefined);
      }
      break;
    case undefined:
      break;
  }
  const end = addressSpaceEnd(physicalAddressBits);
  if (at >= end)
    throw new AddressSpaceError(
      `guest RAM and hotplug_size leave no addresses for devices below 0x${end.toString(16)}: ` +
        "make one of them smaller, or max_phys_bits of --cpus larger where the host allows it",
    );
  return {
    hotplugWindow,
    virtioMem,
    deviceArea: { base: at, length: end - at },
    controllers: placeControllers(usableTop(physicalAddressBits), hotplugWindow !== undefined),
  };
}

/** RAM that does not reach the hole leaves the addresses below 4 GiB to it. */
function aboveRam(ramEnd: Gpa, aligned: boolean): Gpa {
  if (ramEnd <= RAM_HOLE) return RAM_ABOVE_HOLE;
  return aligned ? gpa(alignUp(ramEnd, HOTPLUG_ALIGNMENT)) : ramEnd;
}

/** One page each, downwards from the top. */
function placeControllers(top: number, memoryHotplug: boolean): ControllerAddresses {
  let at = top;
  const next = (): Gpa => {
    at -= PAGE;
    return gpa(at);
  };
  return {
    memoryHotplug: memoryHotplug ? next() : undefined,
    pciHotplug: next(),
    cpuHotplug: next(),
    events: next(),
  };
}

const alignUp = (address: number, alignment: number): number => Math.ceil(address / alignment) * alignment;
