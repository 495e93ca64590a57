import { type Config, objectSchema, optional, required } from "./object-schema.ts";
import { size, string, u32 } from "./value-types.ts";

/** Bodies of the requests that act on a VM. */

export const resizeSchema = objectSchema("VmResize", () => ({
  desired_vcpus: optional(u32, "how many virtual CPUs there are to be"),
  desired_ram: optional(size, "how much RAM there is to be, that at boot included, in bytes"),
  desired_balloon: optional(size, "how much RAM the balloon is to take, in bytes"),
}));
export type VmResize = Config<typeof resizeSchema>;

export const resizeDiskSchema = objectSchema("VmResizeDisk", () => ({
  id: required(string, "id of the disk"),
  desired_size: required(size, "its new size in bytes"),
}));
export type VmResizeDisk = Config<typeof resizeDiskSchema>;

export const resizeZoneSchema = objectSchema("VmResizeZone", () => ({
  id: required(string, "id of the memory zone"),
  desired_ram: required(size, "its new size, that at boot included, in bytes"),
}));
export type VmResizeZone = Config<typeof resizeZoneSchema>;

export const removeDeviceSchema = objectSchema("VmRemoveDevice", () => ({
  id: required(string, "id of the device"),
}));
export type VmRemoveDevice = Config<typeof removeDeviceSchema>;

export const snapshotSchema = objectSchema("VmSnapshotConfig", () => ({
  destination_url: required(string, "file://<existing directory>"),
}));
export type VmSnapshotConfig = Config<typeof snapshotSchema>;

export const coredumpSchema = objectSchema("VmCoredumpData", () => ({
  destination_url: required(string, "file://<new file>"),
}));
export type VmCoredumpData = Config<typeof coredumpSchema>;
