import { readSync, writeSync } from "node:fs";

/** What is written or left a hole as a whole. */
const UNIT_BYTES = 64 << 10;
const ZEROES = Buffer.alloc(UNIT_BYTES);

const isZero = (unit: Uint8Array): boolean => ZEROES.compare(unit, 0, unit.length, 0, unit.length) === 0;

/** Writes bytes into a file that reads as zeroes there, and leaves holes where they are zeroes. @throws Error of the system */
export function writeSparsely(fd: number, offset: number, bytes: Uint8Array): void {
  let from = 0;
  for (let at = 0; at < bytes.length; at += UNIT_BYTES) {
    const end = Math.min(at + UNIT_BYTES, bytes.length);
    if (!isZero(bytes.subarray(at, end))) continue;
    writeAll(fd, offset + from, bytes.subarray(from, at));
    from = end;
  }
  writeAll(fd, offset + from, bytes.subarray(from));
}

function writeAll(fd: number, offset: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.length; ) done += writeSync(fd, bytes, done, bytes.length - done, offset + done);
}

/** Whether a file has these bytes there. @throws Error of the system */
export function hasBytes(fd: number, offset: number, bytes: Uint8Array): boolean {
  const found = Buffer.alloc(bytes.length);
  for (let done = 0; done < bytes.length; ) {
    const count = readSync(fd, found, done, bytes.length - done, offset + done);
    if (count === 0) return false;
    done += count;
  }
  return found.equals(bytes);
}
