import { UnsupportedError } from "./errors.ts";
import { type GivenOptions, type OptionName, startOf } from "./options.ts";
import type { VmConfig } from "./schema/vm.ts";

/** Options of the VMM itself that the grammar knows and nothing implements. */
const UNSUPPORTED_OPTIONS: readonly OptionName[] = ["gdb", "dbus-service-name", "dbus-object-path", "dbus-system-bus"];

interface UnsupportedSetting {
  /** As on the command line. */
  readonly feature: string;
  readonly isUsed: (config: VmConfig) => boolean;
}

type DiskOf = NonNullable<VmConfig["disks"]>[number];

const disk = (feature: string, isUsed: (disk: DiskOf) => boolean): UnsupportedSetting => ({
  feature: `--disk ${feature}`,
  isUsed: (config) => config.disks?.some(isUsed) ?? false,
});

type NetOf = NonNullable<VmConfig["net"]>[number];

const net = (feature: string, isUsed: (net: NetOf) => boolean): UnsupportedSetting => ({
  feature: `--net ${feature}`,
  isUsed: (config) => config.net?.some(isUsed) ?? false,
});

const member = (feature: string, name: keyof VmConfig): UnsupportedSetting => ({
  feature,
  isUsed: (config) => config[name] !== undefined && config[name] !== false,
});

/**
 * What a configuration can ask for and nothing implements: one row each, and implementing a feature is deleting its row. A
 * key that is given and has its default value asks for nothing.
 */
const UNSUPPORTED_SETTINGS: readonly UnsupportedSetting[] = [
  { feature: "--igvm", isUsed: (config) => config.payload?.igvm !== undefined },
  { feature: "--host-data", isUsed: (config) => config.payload?.host_data !== undefined },

  { feature: "--cpus max above boot", isUsed: ({ cpus }) => cpus.max_vcpus !== cpus.boot_vcpus },
  { feature: "--cpus kvm_hyperv", isUsed: ({ cpus }) => cpus.kvm_hyperv },
  { feature: "--cpus features", isUsed: ({ cpus }) => cpus.features.amx },

  { feature: "--memory hotplug_size", isUsed: ({ memory }) => memory.hotplug_size !== undefined },
  { feature: "--memory hotplugged_size", isUsed: ({ memory }) => memory.hotplugged_size !== undefined },
  { feature: "--memory hotplug_method=virtio-mem", isUsed: ({ memory }) => memory.hotplug_method === "VirtioMem" },
  { feature: "--memory-zone", isUsed: ({ memory }) => memory.zones !== undefined },
  member("--numa", "numa"),

  { feature: "--platform num_pci_segments", isUsed: ({ platform }) => (platform?.num_pci_segments ?? 1) !== 1 },
  { feature: "--platform iommu_segments", isUsed: ({ platform }) => platform?.iommu_segments !== undefined },
  {
    feature: "--platform iommu_address_width",
    isUsed: ({ platform }) => (platform?.iommu_address_width_bits ?? 64) !== 64,
  },
  { feature: "--platform iommufd", isUsed: ({ platform }) => platform?.iommufd === true },
  { feature: "--platform iommufd_fd", isUsed: ({ platform }) => platform?.iommufd_fd !== undefined },
  { feature: "--platform vfio_p2p_dma=off", isUsed: ({ platform }) => platform?.vfio_p2p_dma === false },
  { feature: "--platform sev_snp", isUsed: ({ platform }) => platform?.sev_snp === true },
  member("--pci-segment", "pci_segments"),

  disk("vhost_user", ({ vhost_user }) => vhost_user),
  disk("socket", ({ vhost_socket }) => vhost_socket !== undefined),
  disk("image_type=vmdk", ({ image_type }) => image_type === "FlatVmdk"),
  disk("iommu", ({ iommu }) => iommu),

  net("vhost_user", ({ vhost_user }) => vhost_user),
  net("socket", ({ vhost_socket }) => vhost_socket !== undefined),
  net("iommu", ({ iommu }) => iommu),
  member("--fs", "fs"),
  { feature: "--pmem iommu", isUsed: (config) => config.pmem?.some(({ iommu }) => iommu) ?? false },
  member("--vdpa", "vdpa"),
  { feature: "--balloon iommu", isUsed: ({ balloon }) => balloon?.iommu === true },
  { feature: "--rtc iommu", isUsed: ({ rtc }) => rtc?.iommu === true },
  member("--generic-vhost-user", "generic_vhost_user"),
  member("--device", "devices"),
  member("--user-device", "user_devices"),
  { feature: "--rng iommu", isUsed: ({ rng }) => rng.iommu },
  { feature: "--vsock iommu", isUsed: ({ vsock }) => vsock?.iommu === true },

  { feature: "--console iommu", isUsed: ({ console: { iommu } }) => iommu },
];

/** Everything that is refused, as on the command line: an option, or an option and a key, or in words. */
export function unsupportedFeatures(): readonly string[] {
  const options = [...UNSUPPORTED_OPTIONS, "restore"].map((name) => `--${name}`);
  return [...options, ...UNSUPPORTED_SETTINGS.map(({ feature }) => feature)];
}

function refuseAll(features: readonly string[]): void {
  if (features.length > 0) throw new UnsupportedError(features);
}

/** @throws UnsupportedError when an option of the VMM was given that nothing implements */
export function refuseUnsupportedOptions(options: GivenOptions): void {
  const features = UNSUPPORTED_OPTIONS.filter((name) => options.has(name)).map((name) => `--${name}`);
  if (startOf(options) === "restore") features.push("--restore");
  refuseAll(features);
}

/** @throws UnsupportedError when a valid configuration asks for what nothing implements */
export function refuseUnsupportedConfig(config: VmConfig): void {
  refuseAll(UNSUPPORTED_SETTINGS.filter(({ isUsed }) => isUsed(config)).map(({ feature }) => feature));
}
