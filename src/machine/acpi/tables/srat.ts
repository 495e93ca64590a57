import type { ByteWriter } from "../../byte-writer.ts";
import { byNodeId, type NumaNode } from "../numa.ts";
import { writeTable } from "../table.ts";
import type { GpaRange, PciAddress } from "../topology.ts";

const MEMORY_AFFINITY = 1;
const GENERIC_INITIATOR_AFFINITY = 5;
const ENABLED = 1 << 0;
const HOT_PLUGGABLE = 1 << 1;
const PCI_HANDLE = 1;

/** Appends the affinity structure of one vCPU, whose form depends on the architecture. */
export type CpuAffinity = (out: ByteWriter, cpuIndex: number, nodeId: number) => void;

/** Appends the system resource affinity table (ACPI 6.5 section 5.2.16). @returns its offset */
export const writeSrat = (out: ByteWriter, nodes: readonly NumaNode[], cpuAffinity: CpuAffinity): number =>
  writeTable(out, { signature: "SRAT", oemTableId: "CHSRAT", revision: 3 }, (body) => {
    body.zeros(12);
    for (const node of byNodeId(nodes)) {
      for (const range of node.memory) memoryAffinity(body, node.id, range, ENABLED);
      for (const range of node.hotplugMemory) memoryAffinity(body, node.id, range, ENABLED | HOT_PLUGGABLE);
      for (const cpu of node.cpus) cpuAffinity(body, cpu, node.id);
      if (node.genericInitiator !== undefined) genericInitiatorAffinity(body, node.id, node.genericInitiator);
    }
  });

/** Section 5.2.16.2. */
function memoryAffinity(out: ByteWriter, nodeId: number, { base, length }: GpaRange, flags: number): void {
  out.u8(MEMORY_AFFINITY);
  out.u8(40);
  out.u32(nodeId);
  out.u16(0);
  out.u64(base);
  out.u64(length);
  out.u32(0);
  out.u32(flags);
  out.u64(0);
}

/**
 * Section 5.2.16.6. The device handle gives bus, device and function a byte each, twice, where the specification has
 * them packed in two bytes: what Cloud Hypervisor's guests find.
 */
function genericInitiatorAffinity(out: ByteWriter, nodeId: number, address: PciAddress): void {
  out.u8(GENERIC_INITIATOR_AFFINITY);
  out.u8(32);
  out.u8(0);
  out.u8(PCI_HANDLE);
  out.u32(nodeId);
  out.u16(address.segment);
  for (const part of [address.bus, address.device, address.function]) {
    out.u8(part);
    out.u8(part);
  }
  out.zeros(8);
  out.u32(ENABLED);
  out.u32(0);
}
