/**
 * Where each kind of worker thread starts. Here, beside main.ts, because inside the executable module addresses count from
 * the folder that all its entry points (build.ts) share.
 */
export const WORKERS = {
  vcpu: new URL("./vmm/workers/vcpu.ts", import.meta.url).href,
  io: new URL("./vmm/workers/io.ts", import.meta.url).href,
  block: new URL("./vmm/workers/block.ts", import.meta.url).href,
  net: new URL("./vmm/workers/net.ts", import.meta.url).href,
  coreDump: new URL("./vmm/workers/core-dump.ts", import.meta.url).href,
  fdWatcher: new URL("./threads/workers/fd-watcher.ts", import.meta.url).href,
} as const;
