const MAGIC_BYTES = 4;
const CHECKSUM_BYTES = 4;
const BLOCK_HEADER_BYTES = 3;
/** Block types of a Zstandard frame (RFC 8878, 3.1.1.2.2). */
const RLE_BLOCK = 1;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4] as const;
const CONTENT_SIZE_BYTES = [0, 2, 4, 8] as const;

/**
 * Unpacks a compressed cluster. What follows the compressed data, up to the next sector, is not looked at.
 * @param packed sectors of the file
 * @param clusterBytes the most that may come out
 * @throws Error when the data is damaged, or more than a cluster
 */
export function unpackCluster(packed: Uint8Array, method: "zlib" | "zstd", clusterBytes: number): Uint8Array {
  // Loaded by the first compressed cluster that is read: most images have none.
  const { constants, inflateRawSync, zstdDecompressSync } = process.getBuiltinModule("node:zlib");
  const limit = { maxOutputLength: clusterBytes };
  return method === "zlib"
    ? inflateRawSync(packed, { ...limit, finishFlush: constants.Z_SYNC_FLUSH })
    : zstdDecompressSync(packed.subarray(0, zstdFrameBytes(packed)), limit);
}

/** Bytes of the Zstandard frame at the start of `data` (RFC 8878, 3.1.1). @throws RangeError when it does not end there */
function zstdFrameBytes(data: Uint8Array): number {
  const byte = (at: number): number => {
    const value = data[at];
    if (value === undefined) throw new RangeError("a Zstandard frame does not end inside its sectors");
    return value;
  };
  const descriptor = byte(MAGIC_BYTES);
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const contentSize = CONTENT_SIZE_BYTES[(descriptor >>> 6) as 0 | 1 | 2 | 3];
  let at =
    MAGIC_BYTES +
    1 +
    (isSingleSegment ? 0 : 1) +
    DICTIONARY_ID_BYTES[(descriptor & 3) as 0 | 1 | 2 | 3] +
    (contentSize === 0 && isSingleSegment ? 1 : contentSize);
  for (let isLast = false; !isLast; ) {
    const header = byte(at) | (byte(at + 1) << 8) | (byte(at + 2) << 16);
    isLast = (header & 1) !== 0;
    at += BLOCK_HEADER_BYTES + (((header >>> 1) & 3) === RLE_BLOCK ? 1 : header >>> 3);
  }
  return at + ((descriptor & 4) !== 0 ? CHECKSUM_BYTES : 0);
}
