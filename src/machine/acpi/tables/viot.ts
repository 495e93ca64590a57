import type { ByteWriter } from "../../byte-writer.ts";
import { writeTable } from "../table.ts";
import { busDeviceFunction, PCI_SLOTS, type PciAddress } from "../topology.ts";

const PCI_RANGE_NODE = 1;
const PCI_RANGE_BYTES = 24;
const VIRTIO_PCI_IOMMU_NODE = 3;
const VIRTIO_PCI_IOMMU_BYTES = 16;
/** The virtio-iommu is the first node; every range translates through it. */
const FIRST_NODE_OFFSET = 48;

/** A virtio-iommu and what sits behind it. */
export interface VirtioIommuTopology {
  readonly address: PciAddress;
  /** Devices behind it. */
  readonly endpoints: readonly PciAddress[];
  /** Segments all slots of which are behind it. */
  readonly segments: readonly number[];
}

/** Appends the virtual I/O translation table (ACPI 6.5 section 5.2.34). @returns its offset */
export const writeViot = (out: ByteWriter, iommu: VirtioIommuTopology): number =>
  writeTable(out, { signature: "VIOT", oemTableId: "CHVIOT", revision: 0, oemRevision: 0 }, (body) => {
    const endpoints = endpointIds(iommu);
    body.u16(endpoints.size + 1);
    body.u16(FIRST_NODE_OFFSET);
    body.zeros(8);

    body.u8(VIRTIO_PCI_IOMMU_NODE);
    body.u8(0);
    body.u16(VIRTIO_PCI_IOMMU_BYTES);
    body.u16(iommu.address.segment);
    body.u16(busDeviceFunction(iommu.address));
    body.zeros(8);

    for (const id of endpoints) {
      const segment = Math.floor(id / 0x1_0000);
      const bdf = id % 0x1_0000;
      body.u8(PCI_RANGE_NODE);
      body.u8(0);
      body.u16(PCI_RANGE_BYTES);
      body.u32(id);
      body.u16(segment);
      body.u16(segment);
      body.u16(bdf);
      body.u16(bdf);
      body.u16(FIRST_NODE_OFFSET);
      body.zeros(6);
    }
  });

/** Segment << 16 | BDF of all that sits behind the IOMMU, each once. */
function endpointIds({ endpoints, segments }: VirtioIommuTopology): Set<number> {
  const id = (address: PciAddress): number => address.segment * 0x1_0000 + busDeviceFunction(address);
  const ids = new Set(endpoints.map(id));
  for (const segment of segments)
    for (let device = 0; device < PCI_SLOTS; device++) ids.add(id({ segment, bus: 0, device, function: 0 }));
  return ids;
}
