import { closeSync, ftruncateSync, openSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { diskOpener } from "../../../src/block/open-disk.ts";
import { openImage } from "../../unit/block/files.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { blockGuest } from "../support/block-guest.ts";

const DISK_BYTES = 1 << 16;

export const target: FuzzTarget = {
  what: "the queue of the block device, over a raw image",
  maxBytes: 512,
  open: async () => {
    const path = join(tmpdir(), "disk");
    const fd = openSync(path, "w");
    ftruncateSync(fd, DISK_BYTES);
    closeSync(fd);
    const { image } = openImage(path);
    const guest = blockGuest(image, await diskOpener(image, ["synchronous"]));
    return (input) => guest.play(input);
  },
};
