import { rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DiskImageError } from "../../../src/block/image-error.ts";
import { imageInfo } from "../../../src/block/image-info.ts";
import { ConversionError, convertImage } from "../../../src/cli/disk/convert.ts";
import { SysError } from "../../../src/host/errno.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { qemuImg, Template } from "../support/disk-image.ts";
import { tolerateAsync } from "../support/tolerate.ts";

/** Larger disks take long, as they may. */
const MOST_BYTES = 4 << 20;

export const target: FuzzTarget = {
  what: "the tool for disk images: info and convert of images with lies in them",
  maxBytes: 128,
  open: () => {
    const make = (format: string, options: string, size: string) => (path: string) =>
      qemuImg("create", "-q", "-f", format, "-o", options, path, size);
    const templates = [
      new Template(make("qcow2", "cluster_size=512", "64k"), () => [0, 8, 24, 32, 40, 48, 512, 1024, 1536]),
      new Template(make("vpc", "subformat=fixed,force_size=on", "68k"), ({ length }) => [length - 512, length - 464]),
      new Template(make("vhdx", "block_size=1M", "1M"), () => [
        0,
        64 << 10,
        192 << 10,
        (192 << 10) + 16,
        2 << 20,
        3 << 20,
      ]),
      new Template(make("raw", "preallocation=off", "64k"), () => [0, 512]),
    ] as const;
    const source = join(tmpdir(), "source");
    const converted = join(tmpdir(), "converted");
    return async (input) => {
      const image = input.pick(templates);
      image.change(input, () => undefined);
      image.write(source);
      await tolerateAsync([DiskImageError, ConversionError, SysError], async () => {
        const { diskBytes } = imageInfo(source);
        if (diskBytes === undefined || diskBytes > MOST_BYTES) return;
        await convertImage({
          source,
          target: converted,
          to: input.bool() ? "raw" : "qcow2",
          backingFiles: input.bool(),
          verify: input.bool(),
          warn: () => undefined,
          signal: new AbortController().signal,
          progress: () => undefined,
        });
      });
      rmSync(converted, { force: true });
    };
  },
};
