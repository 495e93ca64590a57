import { type Config, objectSchema, optional, required } from "./object-schema.ts";
import { i32, path } from "./value-types.ts";

export const apiSocketSchema = objectSchema("ApiSocket", () => ({
  path: optional(path, "where to make the socket; may be given without 'path='"),
  fd: optional(i32, "file descriptor of a listening socket, in place of path"),
}));

export const eventMonitorSchema = objectSchema("EventMonitor", () => ({
  path: optional(path, "file or FIFO, created or truncated"),
  fd: optional(i32, "open file descriptor, in place of path"),
}));

export const gdbSchema = objectSchema("Gdb", () => ({ path: required(path, "UNIX socket") }));
export type GdbOptions = Config<typeof gdbSchema>;
