import { closeSync, openSync, readSync } from "node:fs";

const CPU_INFO = "/proc/cpuinfo";
/** The first processor's entry is in here. All of the file takes long on a host with many processors. */
const HEAD_BYTES = 4096;
const MODEL_NAME = /^model name\s*:\s*(.*\S)\s*$/m;

/** The brand string of the host's processors, as the host's kernel has read it; undefined where it does not tell. */
export function cpuBrand(): string | undefined {
  const head = Buffer.alloc(HEAD_BYTES);
  try {
    const fd = openSync(CPU_INFO, "r");
    try {
      return MODEL_NAME.exec(head.toString("latin1", 0, readSync(fd, head)))?.[1];
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    // A sandbox without /proc: the guest then sees no name.
    if (error instanceof Error) return undefined;
    throw error;
  }
}
