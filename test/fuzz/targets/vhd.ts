import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FuzzTarget } from "../engine/target.ts";
import { qemuImg, Template, useImage } from "../support/disk-image.ts";

const FOOTER_BYTES = 512;
const CHECKSUM = 64;

function mendFooter(image: Buffer, wasChanged: (at: number, length: number) => boolean): void {
  if (!wasChanged(image.length - FOOTER_BYTES, FOOTER_BYTES)) return;
  const footer = image.subarray(image.length - FOOTER_BYTES);
  footer.writeUInt32BE(0, CHECKSUM);
  footer.writeUInt32BE(~footer.reduce((sum, byte) => sum + byte, 0) >>> 0, CHECKSUM);
}

export const target: FuzzTarget = {
  what: "VHD images with lies in them, opened and used",
  maxBytes: 256,
  open: () => {
    const whole = new Template(
      (path) => qemuImg("create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size=on", path, "68k"),
      ({ length }) => [
        length - FOOTER_BYTES,
        length - FOOTER_BYTES + 8,
        length - FOOTER_BYTES + 12,
        length - FOOTER_BYTES + 16,
        length - FOOTER_BYTES + 40,
        length - FOOTER_BYTES + 48,
        length - FOOTER_BYTES + 60,
      ],
    );
    const path = join(tmpdir(), "image");
    return async (input) => {
      const image = whole;
      image.change(input, mendFooter);
      image.write(path);
      await useImage(input, path, "vhd", image);
    };
  },
};
