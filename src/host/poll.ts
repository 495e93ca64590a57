import { libc } from "./libc.ts";
import { mapForThread } from "./mmap.ts";
import { i32, struct, u16 } from "./struct.ts";

/** struct pollfd (asm-generic/poll.h). */
export const pollfd = struct("pollfd", { fd: i32, events: u16, revents: u16 });

/** Events of poll(2) (asm-generic/poll.h). ERR and HUP are reported whether asked for or not. */
export const PollEvent = { IN: 0x001, OUT: 0x004, ERR: 0x008, HUP: 0x010, RDHUP: 0x2000 } as const;

const block = mapForThread(pollfd.size);
const request = pollfd.at(block);

/**
 * Waits until `fd` takes data without blocking.
 * @returns whether it does; false on a time-out, a signal, a hang-up or an error
 */
export function waitWritable(fd: number, timeoutMs: number): boolean {
  request.fd = fd;
  request.events = PollEvent.OUT;
  return libc.poll(block.address, 1, timeoutMs) === 1 && request.revents === PollEvent.OUT;
}

/** Which of `events`, `PollEvent` flags, there are on `fd` now, and whether it has hung up. 0 on an error. */
export function pollNow(fd: number, events: number): number {
  request.fd = fd;
  request.events = events;
  return libc.poll(block.address, 1, 0) === 1 ? request.revents : 0;
}

/**
 * Waits until there is something to read, be it the end.
 * @returns whether there is; false on a time-out or a signal
 */
export function waitReadable(fd: number, timeoutMs: number): boolean {
  request.fd = fd;
  request.events = PollEvent.IN;
  return libc.poll(block.address, 1, timeoutMs) === 1;
}
