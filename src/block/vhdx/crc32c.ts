/** The Castagnoli polynomial, lowest bit first. */
const POLYNOMIAL = 0x82f6_3b78;
const CHECKSUM_OFFSET = 4;
const CHECKSUM_BYTES = 4;
const NO_CHECKSUM = new Uint8Array(CHECKSUM_BYTES);

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = (value & 1) !== 0 ? (value >>> 1) ^ POLYNOMIAL : value >>> 1;
  return value;
});

/** CRC-32C. @param before the checksum of what comes before, for data in pieces */
export function crc32c(bytes: Uint8Array, before = 0): number {
  let crc = ~before;
  for (let i = 0; i < bytes.length; i++) crc = (table[(crc ^ (bytes[i] ?? 0)) & 0xff] ?? 0) ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** The checksum of a structure that has it in its second word, which counts as zero ([MS-VHDX] 2.2.2, 2.2.3.1, 2.3.1.1). */
export function checksumOf(bytes: Uint8Array): number {
  const head = crc32c(NO_CHECKSUM, crc32c(bytes.subarray(0, CHECKSUM_OFFSET)));
  return crc32c(bytes.subarray(CHECKSUM_OFFSET + CHECKSUM_BYTES), head);
}
