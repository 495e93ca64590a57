import { filterProgram } from "../../../src/host/seccomp/filter-program.ts" with { type: "macro" };

/** The filters that threads have on top of the process's own. */
export const FILTERS = {
  vcpu: filterProgram("vcpu"),
  block: filterProgram("block"),
  net: filterProgram("net"),
  io: filterProgram("io"),
  vsock: filterProgram("vsock"),
  watcher: filterProgram("watcher"),
} as const;

/** Kinds of threads. The main thread has the process's filter alone. */
export type Kind = keyof typeof FILTERS | "vmm";
export const KINDS: readonly Kind[] = ["vmm", "vcpu", "block", "net", "io", "vsock", "watcher"];
