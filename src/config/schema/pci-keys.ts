import { jsonOnly, optional, withDefault } from "./object-schema.ts";
import { bool, string, u8, u16 } from "./value-types.ts";

const identity = {
  id: optional(string, "device identifier, unique in the VM, not beginning with '__'", {
    defaultText: "generated",
    common: true,
  }),
};

const location = {
  pci_segment: withDefault(u16, 0, "PCI segment the device is on", { common: true }),
  pci_device_id: optional(u8, "slot on the segment's bus, 0 to 31", { defaultText: "first free", common: true }),
};

/** The members that all PCI devices share. */
export const pciMembers = {
  ...identity,
  iommu: withDefault(bool, false, "put the device behind the virtual IOMMU", {
    common: true,
    json: { omitFalse: true },
  }),
  ...location,
};

/** The same for devices that cannot be behind the virtual IOMMU: JSON may say so, and validation refuses it. */
export const pciMembersWithoutIommu = {
  ...identity,
  iommu: jsonOnly<boolean, "present">("present", bool.json, "not supported by this device", {
    initial: false,
    traits: { omitFalse: true, undocumented: true },
  }),
  ...location,
};
