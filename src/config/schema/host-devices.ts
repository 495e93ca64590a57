import { type Config, objectSchema, optional, required, withDefault } from "./object-schema.ts";
import { pciMembers, pciMembersWithoutIommu } from "./pci-keys.ts";
import { i32, integerList, path, size, u8 } from "./value-types.ts";

export const deviceSchema = objectSchema("DeviceConfig", () => ({
  ...pciMembers,
  path: optional(path, "the device's directory in sysfs"),
  fd: optional(i32, "file descriptor of an open VFIO device; needs --platform iommufd_fd", {
    json: { undocumented: true, descriptor: true },
  }),
  x_nv_gpudirect_clique: optional(u8, "NVIDIA GPUDirect clique the device belongs to"),
  x_exclude_mmap_bars: withDefault(integerList("u64"), [], "BARs, 0 to 5, that are not mapped into the guest"),
}));
export type DeviceConfig = Config<typeof deviceSchema>;

export const userDeviceSchema = objectSchema("UserDeviceConfig", () => ({
  ...pciMembersWithoutIommu,
  socket: required(path, "socket of the vfio-user device"),
}));
export type UserDeviceConfig = Config<typeof userDeviceSchema>;

export const tpmSchema = objectSchema("TpmConfig", () => ({ socket: required(path, "control socket of swtpm") }));
export type TpmConfig = Config<typeof tpmSchema>;

const MIB = 1 << 20;

export const ivshmemSchema = objectSchema("IvshmemConfig", () => ({
  ...pciMembersWithoutIommu,
  path: required(path, "file that holds the shared memory, at least as long as size"),
  size: withDefault(size, 128 * MIB, "size, a power of two", { json: { required: true } }),
}));
export type IvshmemConfig = Config<typeof ivshmemSchema>;
