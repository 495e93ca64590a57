import type { BarKind } from "../../pci/bar.ts";
import { ConfigLayout } from "../../pci/config-layout.ts";
import { MSIX_CAPABILITY } from "../../pci/msix.ts";
import { type VirtioDevice, VirtioType } from "./device.ts";

/** BAR 0 holds everything: where and how long each part is, in bytes. */
export const Bar0 = {
  SIZE: 0x8_0000,
  COMMON: 0x0000,
  COMMON_BYTES: 56,
  ISR: 0x2000,
  DEVICE: 0x4000,
  DEVICE_BYTES: 0x1000,
  NOTIFY: 0x6000,
  NOTIFY_BYTES: 0x1000,
  /** notify_off_multiplier: bytes from one queue's doorbell to the next. */
  NOTIFY_MULTIPLIER: 4,
  MSIX_TABLE: 0x8000,
  MSIX_PENDING: 0x4_8000,
  MSIX_PENDING_BYTES: 0x800,
} as const;

/** PCI ids (VIRTIO 1.3, 4.1.2). */
const VENDOR_VIRTIO = 0x1af4;
const DEVICE_BASE = 0x1040;
const REVISION = 1;

/** Vendor-specific capability and the structures it locates (4.1.4). */
const VENDOR_CAPABILITY = 0x09;
const CfgType = { COMMON: 1, NOTIFY: 2, ISR: 3, DEVICE: 4, PCI: 5 } as const;

/** struct virtio_pci_cfg_cap, from the start of the capability (4.1.4.9). */
export const CfgWindow = { OFFSET: 8, LENGTH: 12, DATA: 16, END: 20 } as const;

/** What differs between the base classes of device types; all others are unassigned. */
const CLASSES: Readonly<Record<number, { readonly baseClass: number; readonly subclass: number }>> = {
  [VirtioType.NET]: { baseClass: 0x02, subclass: 0x00 },
  [VirtioType.BLOCK]: { baseClass: 0x01, subclass: 0x80 },
};
const OTHER_CLASS = { baseClass: 0xff, subclass: 0xff };

/** Configuration space of a virtio device, and where its capabilities with registers lie. */
export interface VirtioConfigLayout {
  readonly layout: ConfigLayout;
  readonly cfgWindow: number;
  readonly msix: number;
}

/**
 * Lays out configuration space (4.1.4): structures in the order common, ISR, device, notify, PCI access, MSI-X.
 * @param bar width and power-on address of BAR 0
 */
export function virtioConfigLayout(
  device: VirtioDevice,
  bar: { readonly kind: BarKind; readonly address: number },
): VirtioConfigLayout {
  const id = DEVICE_BASE + device.type;
  const layout = new ConfigLayout({
    vendor: VENDOR_VIRTIO,
    device: id,
    subsystemVendor: VENDOR_VIRTIO,
    subsystem: id,
    revision: REVISION,
    ...(CLASSES[device.type] ?? OTHER_CLASS),
  });
  layout.addBar({ index: 0, size: Bar0.SIZE, ...bar });
  const locate = (type: number, offset: number, length: number, extra = 0): Uint8Array => {
    const body = new Uint8Array(14 + extra);
    const view = new DataView(body.buffer);
    view.setUint8(0, body.length + 2);
    view.setUint8(1, type);
    view.setUint32(6, offset, true);
    view.setUint32(10, length, true);
    return body;
  };
  layout.addCapability(VENDOR_CAPABILITY, locate(CfgType.COMMON, Bar0.COMMON, Bar0.COMMON_BYTES));
  layout.addCapability(VENDOR_CAPABILITY, locate(CfgType.ISR, Bar0.ISR, 1));
  if (device.config.length > 0)
    layout.addCapability(VENDOR_CAPABILITY, locate(CfgType.DEVICE, Bar0.DEVICE, Bar0.DEVICE_BYTES));
  const notify = locate(CfgType.NOTIFY, Bar0.NOTIFY, Bar0.NOTIFY_BYTES, 4);
  new DataView(notify.buffer).setUint32(14, Bar0.NOTIFY_MULTIPLIER, true);
  layout.addCapability(VENDOR_CAPABILITY, notify);
  const window = locate(CfgType.PCI, 0, 0, 4);
  const windowWritable = new Uint8Array(window.length);
  windowWritable[2] = 0xff;
  windowWritable.fill(0xff, CfgWindow.OFFSET - 2, CfgWindow.DATA - 2);
  const cfgWindow = layout.addCapability(VENDOR_CAPABILITY, window, windowWritable);
  const msixBody = new Uint8Array(10);
  new DataView(msixBody.buffer).setUint32(2, Bar0.MSIX_TABLE, true);
  new DataView(msixBody.buffer).setUint32(6, Bar0.MSIX_PENDING, true);
  return { layout, cfgWindow, msix: layout.addCapability(MSIX_CAPABILITY, msixBody) };
}
