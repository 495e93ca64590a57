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

/** The configuration without the device of that id; undefined when there is none. */
export function withoutDevice(vm: VmConfig, id: string): VmConfig | undefined {
  if (vm.vsock?.id === id) {
    const { vsock: _removed, ...rest } = vm;
    return rest;
  }
  const lists = {
    devices: vm.devices,
    user_devices: vm.user_devices,
    disks: vm.disks,
    fs: vm.fs,
    generic_vhost_user: vm.generic_vhost_user,
    net: vm.net,
    pmem: vm.pmem,
    vdpa: vm.vdpa,
  };
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
