import { type Config, composed, objectSchema, optional, withDefault } from "./object-schema.ts";
import { bool, i32, string, stringList, truncatedList, u8, u16, u32 } from "./value-types.ts";

export const platformSchema = objectSchema("PlatformConfig", () => ({
  num_pci_segments: withDefault(u16, 1, "PCI segments of the machine, 1 to 96"),
  iommu_segments: optional(truncatedList("u16"), "segments whose devices are all behind the virtual IOMMU"),
  iommu_address_width_bits: withDefault(u8, 64, "address width of the virtual IOMMU, at most 64", {
    key: "iommu_address_width",
  }),
  system_serial_number: optional(string, "SMBIOS system serial number", {
    oldKey: "serial_number",
    json: { aliases: ["serial_number"] },
  }),
  system_uuid: optional(string, "SMBIOS system UUID", { oldKey: "uuid", json: { aliases: ["uuid"] } }),
  oem_strings: optional(stringList, "SMBIOS OEM strings (type 11)"),
  system_manufacturer: optional(string, "SMBIOS system manufacturer"),
  system_product_name: optional(string, "SMBIOS system product name"),
  system_version: optional(string, "SMBIOS system version"),
  system_family: optional(string, "SMBIOS system family"),
  system_sku_number: optional(string, "SMBIOS system SKU number"),
  chassis_asset_tag: optional(string, "SMBIOS chassis asset tag"),
  sev_snp: withDefault(bool, false, "make a confidential VM with AMD SEV-SNP", { json: { feature: "sev_snp" } }),
  iommufd: composed<boolean, "present">(
    "present",
    bool.json,
    "use iommufd for VFIO devices",
    [
      {
        name: "iommufd",
        label: bool.label,
        doc: "use iommufd for VFIO devices",
        defaultText: "on with iommufd_fd, else off",
      },
    ],
    (given) => given.value("iommufd", bool.parse) ?? given.value("iommufd_fd", i32.parse) !== undefined,
    { initial: false },
  ),
  iommufd_fd: optional(i32, "file descriptor of an open iommufd", { json: { undocumented: true, descriptor: true } }),
  vfio_p2p_dma: withDefault(bool, true, "let VFIO devices reach each other's memory"),
}));
export type PlatformConfig = Config<typeof platformSchema>;

export const pciSegmentSchema = objectSchema("PciSegmentConfig", () => ({
  pci_segment: withDefault(u16, 0, "segment the weights are for", { json: { required: true } }),
  mmio32_aperture_weight: withDefault(u32, 1, "the segment's share of the 32-bit MMIO window"),
  mmio64_aperture_weight: withDefault(u32, 1, "the segment's share of the 64-bit MMIO window"),
}));
export type PciSegmentConfig = Config<typeof pciSegmentSchema>;
