import { openSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PmemBackEnd } from "../../../src/devices/virtio/pmem/back-end.ts";
import { pmemDevice } from "../../../src/devices/virtio/pmem/device.ts";
import { gpa, hva } from "../../../src/memory/address.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { mapGuarded } from "../support/guarded-memory.ts";
import { VirtioGuest } from "../support/virtio-guest.ts";

const BYTES = 4096;

export const target: FuzzTarget = {
  what: "the queue of persistent memory",
  maxBytes: 512,
  open: () => {
    const path = join(tmpdir(), "pmem");
    writeFileSync(path, "");
    truncateSync(path, BYTES);
    const fd = openSync(path, "r+");
    const region = { gpa: gpa(0x2_0000_0000), size: BYTES, hva: hva(mapGuarded(BYTES)) };
    const guest = new VirtioGuest({
      device: pmemDevice(region),
      serve: (loop, transport, memory) => new PmemBackEnd(loop, { transport, region, fd }, memory),
      request: (input) => Uint8Array.of(input.below(3), 0, 0, 0),
    });
    return (input) => guest.play(input);
  },
};
