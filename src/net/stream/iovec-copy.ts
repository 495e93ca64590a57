import { libc } from "../../host/libc.ts";

/** Calls `move` for each piece of the first `bytes` bytes that an iovec array describes, with how many came before it. */
function eachPiece(
  table: Uint32Array,
  element: number,
  bytes: number,
  move: (address: number, before: number, length: number) => void,
): void {
  for (let at = element * 4, before = 0; before < bytes; at += 4) {
    const length = Math.min(table[at + 2] ?? 0, bytes - before);
    if (at + 3 >= table.length) throw new RangeError(`${bytes} bytes in iovecs that describe ${before}`);
    move((table[at] ?? 0) + (table[at + 1] ?? 0) * 0x1_0000_0000, before, length);
    before += length;
  }
}

/** Copies the first `bytes` bytes of what iovecs describe, from `element` on, to a host address. */
export function gather(table: Uint32Array, element: number, to: number, bytes: number): void {
  eachPiece(table, element, bytes, (address, before, length) => libc.memcpy(to + before, address, length));
}

/** Copies `bytes` bytes at a host address to where iovecs say, from `element` on. */
export function scatter(from: number, table: Uint32Array, element: number, bytes: number): void {
  eachPiece(table, element, bytes, (address, before, length) => libc.memcpy(address, from + before, length));
}
