import { type Config, objectSchema, optional, required, withDefault } from "./object-schema.ts";
import { vfioFds, zoneUpdatesMember } from "./restore.ts";
import { bool, i32, nonZeroU32, nonZeroU64, oneOf, path, string } from "./value-types.ts";

const memoryMode = withDefault(
  oneOf({ precopy: "Precopy", postcopy: "Postcopy" }),
  "Precopy",
  "send all memory before the destination goes on, or each page when it is needed",
);

export const sendMigrationSchema = objectSchema("SendMigrationData", () => ({
  destination_url: required(string, "tcp:<host>:<port> or unix:<path>"),
  local: withDefault(bool, false, "hand the memory over by file descriptor; unix: only"),
  preserve_source: withDefault(bool, false, "keep the source VM, paused; needs local", {
    json: { undocumented: true },
  }),
  downtime_ms: withDefault(nonZeroU64, 300, "longest stop of the guest to aim for, in milliseconds"),
  timeout_s: withDefault(nonZeroU64, 3600, "longest time for sending memory while the guest runs, in seconds"),
  timeout_strategy: withDefault(
    oneOf({ cancel: "Cancel", ignore: "Ignore" }),
    "Cancel",
    "what to do at the time-out: give up, or stop the guest for as long as it takes",
  ),
  connections: withDefault(nonZeroU32, 1, "parallel TCP connections, at most 128"),
  tls_dir: optional(path, "directory with ca-cert.pem, client-cert.pem and client-key.pem; tcp: only"),
  memory_mode: memoryMode,
}));
export type SendMigrationData = Config<typeof sendMigrationSchema>;

export const receiveMigrationSchema = objectSchema("ReceiveMigrationData", () => ({
  receiver_url: required(string, "tcp:<address>:<port> or unix:<path>"),
  tls_dir: optional(path, "directory with ca-cert.pem, server-cert.pem and server-key.pem; tcp: only"),
  memory_mode: memoryMode,
  vfio_fds: optional(vfioFds, "file descriptors of VFIO devices", { json: { undocumented: true } }),
  iommufd_fd: optional(i32, "file descriptor of an open iommufd", { json: { undocumented: true, descriptor: true } }),
  zone_updates: zoneUpdatesMember,
}));
export type ReceiveMigrationData = Config<typeof receiveMigrationSchema>;
