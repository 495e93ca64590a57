import type { NumaConfig } from "../schema/numa.ts";
import { type Checks, refuse } from "./checks.ts";

function checkNode(what: string, node: NumaConfig): void {
  const { cpus, memory_zones: zones, device_id: device } = node;
  if (device !== undefined && (cpus !== undefined || zones !== undefined))
    refuse("numa-node", `${what}: device_id excludes cpus and memory_zones`);
  if (cpus?.length === 0) refuse("numa-node", `${what}: the list of cpus is empty`);
  if (zones?.length === 0) refuse("numa-node", `${what}: the list of memory_zones is empty`);
  if (device === "") refuse("numa-node", `${what}: device_id is empty`);
  if (device === undefined && cpus === undefined && zones === undefined)
    refuse("numa-node", `${what} has neither cpus nor memory_zones nor a device_id`);
}

/** Rules 57 to 61. @throws ValidationError */
export function checkNuma({ config, segments }: Checks): void {
  const nodeOfZone = new Map<string, number>();
  const nodeOfSegment = new Map<number, number>();
  for (const node of config.numa ?? []) {
    const id = node.guest_numa_id;
    const what = `--numa node ${id}`;
    checkNode(what, node);
    for (const zone of node.memory_zones ?? []) {
      const other = nodeOfZone.get(zone);
      if (other !== undefined)
        refuse("numa-zone", `memory zone '${zone}' belongs to NUMA nodes ${other} and ${id}, it can be in one only`);
      nodeOfZone.set(zone, id);
    }
    for (const segment of node.pci_segments ?? []) {
      if (segment >= segments)
        refuse("numa-segment", `${what}: PCI segment ${segment} does not exist, there are ${segments}`);
      if (segment === 0 && id !== 0) refuse("numa-segment-0", `${what}: PCI segment 0 can only be near node 0`);
      const other = nodeOfSegment.get(segment);
      if (other !== undefined)
        refuse(
          "numa-segment-twice",
          `PCI segment ${segment} belongs to NUMA nodes ${other} and ${id}, it can be near one only`,
        );
      nodeOfSegment.set(segment, id);
    }
  }
}

/** Rule 62. @throws ValidationError */
export function checkZoneIds(checks: Checks): void {
  for (const zone of checks.config.memory.zones ?? []) checks.id(zone.id);
}

/** Rule 63. @throws ValidationError */
export function checkPciSegments({ config, segments }: Checks): void {
  for (const { pci_segment: segment, ...weights } of config.pci_segments ?? []) {
    if (segment >= segments)
      refuse("segment-weights", `--pci-segment: PCI segment ${segment} does not exist, there are ${segments}`);
    for (const [name, weight] of Object.entries(weights))
      if (weight === 0) refuse("segment-weight-zero", `--pci-segment: ${name} of PCI segment ${segment} is 0`);
  }
}

const MAX_SEGMENTS = 96;
const MAX_ADDRESS_WIDTH = 64;

/** Rule 64. @throws ValidationError */
export function checkPlatform({ config: { platform } }: Checks): void {
  if (platform === undefined) return;
  const { num_pci_segments: segments, iommu_address_width_bits: width } = platform;
  if (segments === 0 || segments > MAX_SEGMENTS)
    refuse("segment-count", `--platform: num_pci_segments is ${segments}, it must be 1 to ${MAX_SEGMENTS}`);
  for (const segment of platform.iommu_segments ?? [])
    if (segment >= segments)
      refuse("iommu-segments", `--platform: IOMMU segment ${segment} does not exist, there are ${segments}`);
  if (width > MAX_ADDRESS_WIDTH)
    refuse(
      "iommu-address-width",
      `--platform: iommu_address_width is ${width}, at most ${MAX_ADDRESS_WIDTH} is possible`,
    );
  if (platform.iommufd_fd !== undefined && !platform.iommufd)
    refuse("iommufd-off", "--platform: iommufd_fd needs iommufd=on");
}

/** Rule 65. @throws ValidationError */
export function checkLandlockRules({ config }: Pick<Checks, "config">): void {
  for (const { path, access } of config.landlock_rules ?? []) {
    if (!process.getBuiltinModule("node:fs").existsSync(path))
      refuse("landlock-path", `--landlock-rules: there is no '${path}'`);
    if (!/^[rw]+$/.test(access))
      refuse(
        "landlock-access",
        `--landlock-rules: access '${access}' of '${path}' must be made of the letters r and w`,
      );
  }
}
