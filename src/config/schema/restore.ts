import { type Config, composed, objectSchema, optional, required, withDefault } from "./object-schema.ts";
import { bool, i32, integerList, oneOf, pairs, pairValue, string, truncatedValue, u32, usize } from "./value-types.ts";

export const restoredNetSchema = objectSchema("RestoredNetConfig", () => ({
  id: required(string, "id of a network device"),
  num_fds: withDefault(usize, 0, "how many file descriptors it gets"),
  fds: optional(integerList("i32"), "file descriptors of open TAP interfaces", { json: { descriptor: true } }),
}));
export type RestoredNetConfig = Config<typeof restoredNetSchema>;

export const restoredVfioSchema = objectSchema("RestoredVfioConfig", () => ({
  id: required(string, "id of a VFIO device"),
  fd: optional(i32, "file descriptor of an open VFIO device", { json: { descriptor: true } }),
}));
export type RestoredVfioConfig = Config<typeof restoredVfioSchema>;

export const zoneUpdateSchema = objectSchema("VmMemoryZoneUpdateData", () => ({
  id: required(string, "id of a memory zone"),
  host_numa_node: required(u32, "host NUMA node it moves to"),
}));
export type ZoneUpdate = Config<typeof zoneUpdateSchema>;

const netFds = pairs<string, readonly number[], RestoredNetConfig>({
  label: "<[id@[fd,fd]]>",
  json: { kind: "object", schema: restoredNetSchema },
  key: string,
  value: integerList("i32"),
  make: (id, fds) => ({ id, num_fds: fds.length, fds }),
});

/** On the command line; JSON describes the same. */
export const vfioFds = pairs<string, number, RestoredVfioConfig>({
  label: "<[id@fd]>",
  json: { kind: "object", schema: restoredVfioSchema },
  key: string,
  value: truncatedValue("i32"),
  make: (id, fd) => ({ id, fd }),
});

const zoneUpdates = pairs<string, number, ZoneUpdate>({
  label: "<[id@node]>",
  json: { kind: "object", schema: zoneUpdateSchema },
  key: string,
  value: pairValue("u32"),
  make: (id, host_numa_node) => ({ id, host_numa_node }),
});

const zoneUpdatesDoc = "host NUMA nodes that memory zones move to";

export const zoneUpdatesMember = composed<readonly ZoneUpdate[], "present">(
  "present",
  { kind: "array", items: { kind: "object", schema: zoneUpdateSchema } },
  zoneUpdatesDoc,
  [{ name: "zone_updates", label: zoneUpdates.label, doc: zoneUpdatesDoc }],
  (given) => given.value("zone_updates", zoneUpdates.parse),
  { initial: [] },
);

export const restoreSchema = objectSchema("RestoreConfig", () => ({
  source_url: required(string, "file://<directory of the snapshot>"),
  prefault: withDefault(bool, false, "populate the RAM while it is read"),
  memory_restore_mode: withDefault(
    oneOf({ copy: "Copy", ondemand: "OnDemand" }),
    "Copy",
    "read all RAM first, or each page when it is needed",
  ),
  net_fds: optional(netFds, "new TAP file descriptors of network devices", { json: { undocumented: true } }),
  vfio_fds: optional(vfioFds, "new file descriptors of VFIO devices", { json: { undocumented: true } }),
  iommufd_fd: optional(i32, "file descriptor of an open iommufd", { json: { undocumented: true, descriptor: true } }),
  resume: withDefault(bool, false, "let the VM run; else it stays paused"),
  zone_updates: zoneUpdatesMember,
}));
export type RestoreConfig = Config<typeof restoreSchema>;
