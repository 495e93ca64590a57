import { libc } from "../host/libc.ts";
import { mapAnonymous } from "../host/mmap.ts";

/** Longer records are cut. Pages of the buffer that no record reaches cost nothing. */
const MAX_RECORD_BYTES = 1 << 16;

/**
 * A sink that writes each record with one system call, so that records of different threads do not mix. A record that
 * cannot be written is lost: a full disk or a reader that went away must not stop a virtual machine.
 * @param fd file descriptor of the log
 */
export function fdSink(fd: number): (record: string) => void {
  const encoder = new TextEncoder();
  const { address, u8 } = mapAnonymous(MAX_RECORD_BYTES);
  return (record) => {
    const { written } = encoder.encodeInto(record, u8);
    libc.write(fd, address, written);
  };
}
