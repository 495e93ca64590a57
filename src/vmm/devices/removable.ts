import { type VirtioDevice, VirtioType } from "../../devices/virtio/transport/device.ts";

const REMOVABLE: ReadonlySet<number> = new Set([
  VirtioType.NET,
  VirtioType.BLOCK,
  VirtioType.VSOCK,
  VirtioType.FS,
  VirtioType.PMEM,
]);

/** Whether a virtio device can be taken out of a running VM: its type decides (lifecycle.md 4.5). */
export const isRemovable = ({ type }: VirtioDevice): boolean => REMOVABLE.has(type);
