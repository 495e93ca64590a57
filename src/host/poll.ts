import { libc } from "./libc.ts";
import { mapAnonymous } from "./mmap.ts";
import { i32, struct, u16 } from "./struct.ts";

/** struct pollfd (asm-generic/poll.h). */
export const pollfd = struct("pollfd", { fd: i32, events: u16, revents: u16 });

const POLLOUT = 0x004;

const block = mapAnonymous(pollfd.size);
const request = pollfd.at(block);

/**
 * Waits until `fd` takes data without blocking.
 * @param timeoutMs 0 only looks
 * @returns whether it does; false on a time-out, a signal, a hang-up or an error
 */
export function waitWritable(fd: number, timeoutMs: number): boolean {
  request.fd = fd;
  request.events = POLLOUT;
  return libc.poll(block.address, 1, timeoutMs) === 1 && request.revents === POLLOUT;
}
