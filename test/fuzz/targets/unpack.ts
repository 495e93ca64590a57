import { gzipSync, zstdCompressSync } from "node:zlib";
import { type PayloadFormat, payloadFormat, unpackPayload } from "../../../src/machine/x86_64/loader/unpack/payload.ts";
import { UnpackError } from "../../../src/machine/x86_64/loader/unpack/unpack-error.ts";
import { kernelLike, lz4Legacy } from "../../unit/machine/x86_64/loader/images.ts";
import xzStreams from "../../unit/machine/x86_64/loader/xz-streams.json" with { type: "json" };
import type { FuzzTarget } from "../engine/target.ts";
import { tolerateAsync } from "../support/tolerate.ts";

const FORMATS: readonly [PayloadFormat, ...PayloadFormat[]] = ["lz4", "xz", "gzip", "zstd"];
const SIZES: readonly [number, ...number[]] = [3000, 2000, 1, 4096, 0x1_0000];
const seed = (format: PayloadFormat, size: number, data: Uint8Array): Uint8Array =>
  Buffer.from([FORMATS.indexOf(format), SIZES.indexOf(size), ...data]);

export const target: FuzzTarget = {
  what: "packed kernels: LZ4, xz with its filters, gzip, zstd",
  maxBytes: 4096,
  dictionary: [Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0), Uint8Array.of(0x02, 0x21, 0x4c, 0x18), "YZ"],
  seeds: () => {
    const plain = kernelLike(1, 3000);
    return [
      seed("lz4", 3000, lz4Legacy(plain)),
      seed("gzip", 3000, gzipSync(plain)),
      seed("zstd", 3000, zstdCompressSync(plain)),
      seed("xz", 3000, Buffer.from(xzStreams.code.base64, "base64")),
      seed("xz", 2000, Buffer.from(xzStreams.branches.base64, "base64")),
    ];
  },
  open: () => async (input) => {
    const format = input.pick(FORMATS);
    const size = input.pick(SIZES);
    const data = input.rest();
    payloadFormat(data);
    await tolerateAsync([UnpackError], async () => {
      using unpacked = await unpackPayload(format, data, size);
      if (unpacked.bytes.length !== size) throw new Error(`${unpacked.bytes.length} bytes, not ${size}`);
    });
  },
};
