/** Each frame on a stream comes after its length: a 32-bit number, big-endian (QEMU's net/stream.c, passt's tap.c). */
export const PREFIX_BYTES = 4;
/** An Ethernet header. */
const MIN_FRAME_BYTES = 14;
/** The most that the other side takes (ETH_MAX_MTU of linux/if_ether.h). */
export const MAX_FRAME_BYTES = 65_535;

/** Whether a frame of that length can be on a stream. */
export function isFrameLength(bytes: number): boolean {
  return bytes >= MIN_FRAME_BYTES && bytes <= MAX_FRAME_BYTES;
}

/** A frame as it is on the stream. */
export function onWire(frame: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(PREFIX_BYTES + frame.length);
  new DataView(bytes.buffer).setUint32(0, frame.length);
  bytes.set(frame, PREFIX_BYTES);
  return bytes;
}
