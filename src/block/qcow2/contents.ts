import { mapAnonymous, munmap } from "../../host/mmap.ts";
import { DiskImage } from "../disk-image.ts";
import { type KnownZeroes, knownZeroesOf } from "../known-zeroes.ts";
import { viewOf } from "./image.ts";

/** Bytes that are compared at once. */
const PIECE_BYTES = 1 << 20;

/** What is on the disk of a qcow2 image that nobody writes to, to be compared with something else. */
export interface Qcow2Contents extends Disposable {
  /** Whether the disk has these bytes there. @throws ImageIoError */
  has(offset: number, bytes: Uint8Array): boolean;
  readonly zeroes: KnownZeroes;
}

/** @throws DiskImageError */
export function openQcow2Contents(path: string): Qcow2Contents {
  using resources = new DisposableStack();
  const opened = new DiskImage({
    path,
    readonly: true,
    direct: false,
    format: "qcow2",
    sparse: true,
    lock: "byte-range",
    backingFiles: false,
    queues: 1,
  });
  resources.defer(() => opened.close());
  const { image } = opened;
  if (image.kind !== "qcow2") throw new TypeError("opened as qcow2");
  const { reader } = viewOf(image);
  resources.defer(() => reader.close());
  const memory = resources.adopt(mapAnonymous(PIECE_BYTES), ({ address, size }) => munmap(address, size));
  const kept = resources.move();
  return {
    has(offset, bytes) {
      for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
        const part = bytes.subarray(at, at + PIECE_BYTES);
        reader.read(offset + at, memory.address, part.length);
        if (Buffer.compare(memory.u8.subarray(0, part.length), part) !== 0) return false;
      }
      return true;
    },
    zeroes: knownZeroesOf(image),
    [Symbol.dispose]: () => kept.dispose(),
  };
}
