import type { DiskConfig } from "../../config/schema/disk.ts";
import type { DeviceConfig, UserDeviceConfig } from "../../config/schema/host-devices.ts";
import type { NetConfig } from "../../config/schema/net.ts";
import type {
  FsConfig,
  GenericVhostUserConfig,
  PmemConfig,
  VdpaConfig,
  VsockConfig,
} from "../../config/schema/virtio-devices.ts";
import type { VmConfig } from "../../config/schema/vm.ts";
import { TooManyVsockDevicesError } from "./errors.ts";

/** A device to be added to a VM: which member of the VM's configuration it belongs to, and its own configuration. */
export type NewDevice =
  | { readonly member: "disks"; readonly config: DiskConfig }
  | { readonly member: "net"; readonly config: NetConfig }
  | { readonly member: "fs"; readonly config: FsConfig }
  | { readonly member: "generic_vhost_user"; readonly config: GenericVhostUserConfig }
  | { readonly member: "pmem"; readonly config: PmemConfig }
  | { readonly member: "devices"; readonly config: DeviceConfig }
  | { readonly member: "user_devices"; readonly config: UserDeviceConfig }
  | { readonly member: "vdpa"; readonly config: VdpaConfig }
  | { readonly member: "vsock"; readonly config: VsockConfig };

/** The configuration with a device more. @throws TooManyVsockDevicesError */
export function withDevice(vm: VmConfig, device: NewDevice): VmConfig {
  if (device.member === "vsock") {
    if (vm.vsock !== undefined) throw new TooManyVsockDevicesError();
    return { ...vm, vsock: device.config };
  }
  return { ...vm, [device.member]: [...(vm[device.member] ?? []), device.config] };
}

/** Parts of a device's configuration that are made up where the user leaves them out. */
export interface GeneratedConfig {
  readonly mac?: string;
}

/** What is known of a device when it has its place. */
interface Placed {
  /** The list of the configuration that it comes from. */
  readonly member: NewDevice["member"] | undefined;
  readonly id: string;
  readonly slot: number;
  /** What was made up for it. */
  readonly generated: GeneratedConfig;
}

/** The device as it was placed while the VM runs. */
export function placedAs(device: NewDevice, { id, slot, generated }: Placed): NewDevice {
  return { ...device, config: { ...device.config, ...generated, id, pci_device_id: slot } } as NewDevice;
}

/** The configuration with what was made up for its devices, which were placed in the order of their lists. */
export function withGenerated(vm: VmConfig, placed: readonly Placed[]): VmConfig {
  const filled = <D extends { readonly id?: string }>(member: NewDevice["member"], devices: readonly D[]): D[] => {
    const those = placed.filter((device) => device.member === member);
    return devices.map((device, i) => {
      const { generated, id } = those[i] ?? {};
      return id === undefined ? device : { ...device, ...generated, id };
    });
  };
  const { disks, net, pmem, vsock } = vm;
  const [socket] = vsock === undefined ? [] : filled("vsock", [vsock]);
  return {
    ...vm,
    ...(disks && { disks: filled("disks", disks) }),
    ...(net && { net: filled("net", net) }),
    ...(pmem && { pmem: filled("pmem", pmem) }),
    ...(socket && { vsock: socket }),
  };
}

/** The configuration without the device of that id; undefined when there is none. */
export function withoutDevice(vm: VmConfig, id: string): VmConfig | undefined {
  if (vm.vsock?.id === id) {
    const { vsock: _removed, ...rest } = vm;
    return rest;
  }
  const { devices, user_devices, disks, fs, generic_vhost_user, net, pmem, vdpa } = vm;
  const lists = { devices, user_devices, disks, fs, generic_vhost_user, net, pmem, vdpa };
  for (const [member, list] of Object.entries(lists))
    if (list?.some((device) => device.id === id)) return { ...vm, [member]: list.filter((device) => device.id !== id) };
  return undefined;
}

/** File descriptors that a configuration holds on behalf of devices: those in `before` and not in `after`. */
export function droppedDescriptors(before: VmConfig, after: VmConfig | undefined): readonly number[] {
  const held = (vm: VmConfig | undefined) => [
    ...(vm?.net ?? []).flatMap(({ fds }) => fds ?? []),
    ...(vm?.devices ?? []).flatMap(({ fd }) => fd ?? []),
  ];
  const kept = new Set(held(after));
  return held(before).filter((fd) => !kept.has(fd));
}
