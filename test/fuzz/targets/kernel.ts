import { writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { BootSpaceError, KernelImageError } from "../../../src/machine/x86_64/loader/errors.ts";
import { loadInitramfs } from "../../../src/machine/x86_64/loader/initramfs.ts";
import { loadKernel } from "../../../src/machine/x86_64/loader/kernel.ts";
import type { PayloadFormat } from "../../../src/machine/x86_64/loader/unpack/payload.ts";
import { bzImage, kernelLike, lz4Legacy, pvhKernel, withSize } from "../../unit/machine/x86_64/loader/images.ts";
import { TestRam } from "../../unit/machine/x86_64/loader/ram.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { tolerate, tolerateAsync } from "../support/tolerate.ts";

const RAM_BYTES = 3 << 20;
const FORMATS: ReadonlySet<PayloadFormat> = new Set(["gzip", "zstd", "lz4", "xz"]);
const u64 = (value: bigint): Uint8Array => new Uint8Array(BigUint64Array.of(value).buffer);

export const target: FuzzTarget = {
  what: "kernel images: PVH ELF, bzImage and what is packed in it; the initramfs beside them",
  maxBytes: 4096,
  dictionary: [
    "\x7fELF",
    "HdrS",
    "Xen\0",
    u64(0x10_0000n),
    u64(0xffff_ffff_ffff_ffffn),
    u64(0x7fff_ffff_ffff_f000n),
    u64(4096n),
  ],
  seeds: () => {
    const kernel = pvhKernel(kernelLike(1, 600));
    const packed = [
      withSize(lz4Legacy(kernel), kernel.length),
      gzipSync(kernel),
      withSize(zstdCompressSync(kernel), kernel.length),
    ];
    return [kernel, bzImage(), ...packed.map((payload) => bzImage({ payload }))];
  },
  open: () => {
    const path = join(tmpdir(), "kernel");
    const ram = new TestRam(RAM_BYTES);
    return async (input) => {
      writeFileSync(path, input.bytes);
      ram.bytes.fill(0, 0x10_0000, 0x10_2000);
      // No error of reading: the file is there, and does not change.
      await tolerateAsync([KernelImageError, BootSpaceError], async () => {
        const { entry, occupied } = await loadKernel(path, "kernel", ram, { unpack: FORMATS });
        if (!ram.contains(entry, 1)) throw new Error(`entered at ${entry}`);
        for (const { base, length } of occupied)
          if (!ram.contains(base, length)) throw new Error(`at ${base}, ${length}`);
        tolerate([BootSpaceError], () => {
          const { base, length } = loadInitramfs(path, ram, RAM_BYTES, occupied);
          if (!ram.contains(base, length)) throw new Error(`the initramfs lies at ${base}`);
        });
      });
    };
  },
};
