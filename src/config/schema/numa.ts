import { type Config, composed, objectSchema, optional, required, withDefault } from "./object-schema.ts";
import { pairs, string, stringList, truncatedKey, truncatedList, truncatedValue, u8, u32 } from "./value-types.ts";

export const numaDistanceSchema = objectSchema("NumaDistance", () => ({
  destination: withDefault(u32, 0, "the other node"),
  distance: withDefault(u8, 0, "how far it is, 10 being local"),
}));
export type NumaDistance = Config<typeof numaDistanceSchema>;

const distances = pairs<number, number, NumaDistance>({
  label: "<[node@n,node@n]>",
  json: { kind: "object", schema: numaDistanceSchema },
  key: truncatedKey("u32"),
  value: truncatedValue("u8"),
  make: (destination, distance) => ({ destination, distance }),
});

export const numaSchema = objectSchema("NumaConfig", () => ({
  guest_numa_id: required(u32, "number of the node"),
  cpus: optional(truncatedList("u32"), "virtual CPUs of the node"),
  distances: optional(distances, "distances to other nodes"),
  memory_zones: optional(stringList, "ids of the node's memory zones"),
  pci_segments: optional(truncatedList("u16"), "PCI segments near the node"),
  device_id: composed<string, "optional">(
    "optional",
    string.json,
    "device that initiates memory accesses, instead of CPUs and memory",
    [
      {
        name: "device_id",
        label: string.label,
        doc: "device near which the node is, in place of cpus and memory_zones",
      },
    ],
    (given) => {
      const id = given.value("device_id", string.parse);
      if (id !== undefined && (given.raw("cpus") !== undefined || given.raw("memory_zones") !== undefined))
        given.invalid("a node with device_id cannot have cpus or memory_zones");
      return id;
    },
  ),
}));
export type NumaConfig = Config<typeof numaSchema>;
