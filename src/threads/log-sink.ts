import { libc } from "../host/libc.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { mapForThread } from "../host/mmap.ts";

/** Longer records are cut. Pages of the buffer that no record reaches cost nothing. */
const MAX_RECORD_BYTES = 1 << 16;

/** One for each thread, however often its logging is set up: a thread serves many VMs. */
let record: MemoryBlock | undefined;

/**
 * A sink that writes each record with one system call, so that records of different threads do not mix. A record that
 * cannot be written is lost: a full disk or a reader that went away must not stop a virtual machine.
 * @param fd file descriptor of the log
 */
export function fdSink(fd: number): (record: string) => void {
  const encoder = new TextEncoder();
  record ??= mapForThread(MAX_RECORD_BYTES);
  const { address, u8 } = record;
  return (text) => {
    const { written } = encoder.encodeInto(text, u8);
    libc.write(fd, address, written);
  };
}
