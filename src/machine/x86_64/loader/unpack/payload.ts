import { mapAnonymous, munmap } from "../../../../host/mmap.ts";
import { UnpackError } from "./unpack-error.ts";

/** Compressions of kernels that can be undone here; bzip2, lzma and lzo are left to the kernel's own decompressor. */
export type PayloadFormat = "gzip" | "zstd" | "lz4" | "xz";

const MAGICS: readonly (readonly [PayloadFormat, readonly number[]])[] = [
  ["gzip", [0x1f, 0x8b]],
  ["zstd", [0x28, 0xb5, 0x2f, 0xfd]],
  ["lz4", [0x02, 0x21, 0x4c, 0x18]],
  ["xz", [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
];

/** The compression that data with this beginning is in; undefined for others. */
export function payloadFormat(head: Uint8Array): PayloadFormat | undefined {
  return MAGICS.find(([, magic]) => magic.every((byte, i) => head[i] === byte))?.[0];
}

/** Unpacked data in memory that goes back to the host at the end of its scope rather than at the collector's leisure. */
export interface UnpackedPayload extends Disposable {
  readonly bytes: Uint8Array;
}

/**
 * Undoes a compression. Decoders are loaded when first needed.
 * @param size of the result in bytes: more or less of it is an error, and no more memory than that is used for it
 * @throws UnpackError; SysError where there is no memory
 */
export async function unpackPayload(format: PayloadFormat, data: Uint8Array, size: number): Promise<UnpackedPayload> {
  switch (format) {
    case "gzip":
    case "zstd":
      return unpackWithZlib(format, data, size);
    case "lz4": {
      const { unpackLz4Legacy } = await import("./lz4.ts");
      return unpackInto(unpackLz4Legacy, data, size);
    }
    case "xz": {
      const { unpackXz } = await import("./xz.ts");
      return unpackInto(unpackXz, data, size);
    }
  }
}

function unpackInto(unpack: (input: Uint8Array, output: Uint8Array) => void, data: Uint8Array, size: number) {
  const block = mapAnonymous(size);
  const dispose = () => munmap(block.address, block.size);
  try {
    const bytes = block.u8.subarray(0, size);
    unpack(data, bytes);
    return { bytes, [Symbol.dispose]: dispose };
  } catch (error) {
    dispose();
    throw error;
  }
}

async function unpackWithZlib(format: "gzip" | "zstd", data: Uint8Array, size: number): Promise<UnpackedPayload> {
  const { gunzipSync, zstdDecompressSync } = await import("node:zlib");
  let bytes: Buffer;
  try {
    // In one chunk of the right size nothing is copied or grown.
    const options = { chunkSize: Math.max(size, 64), maxOutputLength: size };
    bytes = format === "gzip" ? gunzipSync(data, options) : zstdDecompressSync(data, options);
  } catch (cause) {
    throw new UnpackError(format, `the data does not unpack to ${size} bytes`, undefined, { cause });
  }
  if (bytes.length !== size) throw new UnpackError(format, `${bytes.length} bytes came out, not ${size}`);
  return {
    bytes,
    [Symbol.dispose]: () => {
      // Moving the storage to an owner of no bytes frees it, and only a collection makes the allocator give free pages back.
      if (bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
      Bun.gc(true);
    },
  };
}
