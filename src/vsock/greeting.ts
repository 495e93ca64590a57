import { Errno } from "../host/errno.ts";
import { errno, libc } from "../host/libc.ts";
import { PollEvent, pollNow } from "../host/poll.ts";
import { scratch } from "../host/scratch.ts";
import { Socket } from "../host/unix-socket.ts";

/** The longest line that a client may open its connection with, line end included. */
const MAX_LINE_BYTES = 32;
const LINE_END = 0x0a;
const MAX_PORT = 0xffff_ffff;

/** What `takeGreeting` answers in place of a port. */
export const Greeting = {
  /** The line has not come as a whole yet. */
  INCOMPLETE: -1,
  /** It never will, or is no such line. */
  INVALID: -2,
} as const;

/**
 * Takes the line `CONNECT <port>\n` off a socket that a client has just connected, and not a byte of what comes behind it.
 * @returns the port, or a `Greeting`
 */
export function takeGreeting(fd: number): number {
  const { address, u8 } = scratch();
  const count = libc.recvfrom(fd, address, MAX_LINE_BYTES, Socket.MSG_PEEK | Socket.MSG_DONTWAIT, 0, 0);
  if (count < 0) return errno() === Errno.EAGAIN || errno() === Errno.EINTR ? Greeting.INCOMPLETE : Greeting.INVALID;
  const end = u8.subarray(0, count).indexOf(LINE_END);
  if (end < 0) {
    const ended = count === 0 || (pollNow(fd, PollEvent.RDHUP) & (PollEvent.RDHUP | PollEvent.HUP)) !== 0;
    return ended || count === MAX_LINE_BYTES ? Greeting.INVALID : Greeting.INCOMPLETE;
  }
  const port = parseGreeting(u8.subarray(0, end));
  return libc.recvfrom(fd, address, end + 1, Socket.MSG_DONTWAIT, 0, 0) === end + 1 ? port : Greeting.INVALID;
}

/** @param line without its end */
export function parseGreeting(line: Uint8Array): number {
  const [, digits] = /^[ \t]*connect[ \t]+(\d+)[ \t\r]*$/i.exec(String.fromCharCode(...line)) ?? [];
  const port = Number(digits);
  return port <= MAX_PORT ? port : Greeting.INVALID;
}
