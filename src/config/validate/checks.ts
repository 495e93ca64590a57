import type { Arch } from "../arch.ts";
import { ValidationError } from "../errors.ts";
import type { VmConfig } from "../schema/vm.ts";

/** What validity depends on besides the configuration. */
export interface Platform {
  readonly arch: Arch;
  readonly hypervisor: "kvm" | "mshv";
}

/** @throws ValidationError always */
export function refuse(rule: string, message: string): never {
  throw new ValidationError(rule, message);
}

/** True for 1, 2, 4, ... up to 2^63. */
export function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value)) && 2 ** Math.log2(value) === value;
}

/** @throws ValidationError when a virtqueue could not have this many entries */
export function checkQueueSize(what: string, size: number): void {
  if (!isPowerOfTwo(size)) refuse("queue-size", `${what}: queue size ${size} is not a power of two`);
}

/** How an error calls a device: by its id, or else by its place among those of its option. */
export function deviceName(option: string, index: number, id: string | undefined): string {
  return id === undefined ? `${option} number ${index + 1}` : `${option} '${id}'`;
}

/** Bytes of RAM that the configuration gives the guest: fixed, in zones, and hotplugged at boot. */
export function totalRam({ memory }: VmConfig): number {
  const zones = (memory.zones ?? []).reduce((sum, zone) => sum + zone.size + (zone.hotplugged_size ?? 0), 0);
  return memory.size + (memory.hotplugged_size ?? 0) + zones;
}

interface PciDevice {
  readonly id?: string;
  readonly iommu: boolean;
  readonly pci_segment: number;
  readonly pci_device_id?: number;
}

/** Segments of a machine whose platform is not configured. */
const DEFAULT_SEGMENTS = 1;
const SLOTS = 32;

/** The state that the rules share while they are checked one after the other. */
export class Checks {
  readonly config: VmConfig;
  readonly platform: Platform;
  readonly warnings: string[] = [];
  /** Number of PCI segments. */
  readonly segments: number;
  /** Other processes can map the guest's RAM. */
  readonly sharedRam: boolean;
  readonly #iommuSegments: ReadonlySet<number>;
  readonly #ids = new Set<string>();

  constructor(config: VmConfig, platform: Platform) {
    this.config = config;
    this.platform = platform;
    this.segments = config.platform?.num_pci_segments ?? DEFAULT_SEGMENTS;
    this.#iommuSegments = new Set(config.platform?.iommu_segments);
    const { memory } = config;
    const zones = memory.zones ?? [];
    this.sharedRam =
      memory.shared ||
      memory.hugepages ||
      (memory.size === 0 && zones.length > 0 && zones.every((zone) => zone.shared || zone.hugepages));
  }

  /** Memory that a process outside the VMM must be able to map. @throws ValidationError */
  needSharedRam(what: string): void {
    if (!this.sharedRam)
      refuse("shared-ram", `${what} needs memory that its back end can map: use --memory shared=on or hugepages=on`);
  }

  /** An identifier: not reserved and not in use. @throws ValidationError */
  id(id: string | undefined): void {
    if (id === undefined) return;
    if (id.startsWith("__")) refuse("reserved-id", `identifier '${id}' begins with '__', which is reserved`);
    if (this.#ids.has(id)) refuse("duplicate-id", `identifier '${id}' is used twice`);
    this.#ids.add(id);
  }

  /** Where a device stands on the PCI buses. @throws ValidationError */
  pci(what: string, device: PciDevice): void {
    const { pci_segment: segment, pci_device_id: slot } = device;
    if (segment >= this.segments)
      refuse("pci-segment", `${what}: PCI segment ${segment} does not exist, there are ${this.segments}`);
    if (this.#iommuSegments.has(segment) && !device.iommu)
      refuse("iommu-segment", `${what}: PCI segment ${segment} is behind the IOMMU, which needs iommu=on`);
    if (slot === undefined) return;
    if (slot >= SLOTS) refuse("pci-slot", `${what}: PCI slot ${slot} does not exist, the last is ${SLOTS - 1}`);
    if (slot === 0 && segment === 0)
      refuse("pci-slot-reserved", `${what}: PCI slot 0 of segment 0 belongs to the root device`);
  }

  /** @throws ValidationError */
  pciAndId(what: string, device: PciDevice): void {
    this.pci(what, device);
    this.id(device.id);
  }

  /** For devices that the REST API can ask to be behind the IOMMU and that cannot be. @throws ValidationError */
  noIommu(what: string, device: PciDevice): void {
    if (device.iommu) refuse("iommu-unsupported", `${what} cannot be behind the IOMMU`);
  }
}
