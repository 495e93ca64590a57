import { type Config, jsonOnly, objectSchema, optional, required, withDefault } from "./object-schema.ts";
import { bool, oneOf, path, size, string, u32 } from "./value-types.ts";

const MIB = 1 << 20;

const backing = {
  shared: withDefault(bool, false, "map the RAM so that other processes can share it"),
  hugepages: withDefault(bool, false, "back the RAM by huge pages"),
  hugepage_size: optional(size, "size of the huge pages, a power of two; needs hugepages=on", {
    defaultText: "the host's default",
  }),
  prefault: withDefault(bool, false, "populate the RAM when it is created"),
  reserve: withDefault(bool, false, "have the host reserve swap space or huge pages for all of the RAM"),
};

export const memoryZoneSchema = objectSchema("MemoryZoneConfig", () => ({
  id: required(string, "name of the zone, unique in the VM"),
  size: withDefault(size, 512 * MIB, "RAM of the zone", { json: { required: true } }),
  file: optional(path, "file that backs the zone"),
  ...backing,
  host_numa_node: optional(u32, "host NUMA node the zone is bound to"),
  hotplug_size: optional(size, "RAM that can be added to the zone (virtio-mem only)"),
  hotplugged_size: optional(size, "how much of it is plugged at boot (virtio-mem only)"),
  mergeable: withDefault(bool, false, "let the host merge equal pages (KSM)", { hidden: true }),
}));
export type MemoryZoneConfig = Config<typeof memoryZoneSchema>;

export const memorySchema = objectSchema(
  "MemoryConfig",
  () => ({
    size: withDefault(size, 512 * MIB, "RAM of the guest; 0 to use only --memory-zone", { json: { required: true } }),
    mergeable: withDefault(bool, false, "let the host merge equal pages (KSM)"),
    hotplug_method: withDefault(oneOf({ acpi: "Acpi", "virtio-mem": "VirtioMem" }), "Acpi", "how RAM is added later"),
    hotplug_size: optional(size, "RAM that can be added"),
    hotplugged_size: optional(size, "how much of it is plugged at boot (virtio-mem only)"),
    ...backing,
    zones: jsonOnly<readonly MemoryZoneConfig[], "optional">(
      "optional",
      { kind: "array", items: { kind: "object", schema: memoryZoneSchema } },
      "user-defined parts of the RAM",
    ),
    thp: withDefault(bool, true, "advise the host to use transparent huge pages"),
  }),
  { ignoredKeys: [{ name: "file", label: path.label, doc: "ignored", hidden: true }] },
);
export type MemoryConfig = Config<typeof memorySchema>;
