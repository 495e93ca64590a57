import { openSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FwCfg } from "../../../src/devices/fw-cfg.ts";
import { refTo } from "../../../src/threads/block-ref.ts";
import { block } from "../../unit/devices/access.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { GuardedMemory, mapGuarded } from "../support/guarded-memory.ts";
import { playRegisters } from "../support/registers.ts";

const ITEM_BYTES = 4096;
const KEYS: readonly [number, ...number[]] = [0, 0x19, 0x20, 0x21, 0x8000, 0xffff];
const DMA_ADDRESS = 0x10_0000;

export const target: FuzzTarget = {
  what: "fw_cfg: ports and DMA",
  maxBytes: 512,
  open: () => {
    const ram = new GuardedMemory();
    const path = join(tmpdir(), "item");
    writeFileSync(path, new Uint8Array(ITEM_BYTES).fill(5));
    const fd = openSync(path, "r");
    const device = new FwCfg(
      {
        block: refTo(block(FwCfg.blockSize)),
        items: [
          { key: 0, size: 4, content: { kind: "memory", address: mapGuarded(ITEM_BYTES) + ITEM_BYTES - 4 } },
          { key: 0x20, size: ITEM_BYTES, content: { kind: "memory", address: mapGuarded(ITEM_BYTES) } },
          // Shorter than it was when it was looked at.
          { key: 0x21, size: 2 * ITEM_BYTES, content: { kind: "file", fd, offset: 100 } },
        ],
      },
      ram.memory,
    );
    const swapped = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer).reverse();
    const registers = [{ device, length: 12, widest: 4, places: [0, 1, 4, 8] }] as const;
    return (input) => {
      ram.clear();
      playRegisters(input, registers, [device], () => {
        const control = (input.pick(KEYS) << 16) | (input.u8() & 0x1f);
        const [first, second = first] = ram.regions;
        const to = input.pick([first.gpa + 64, first.gpa + first.size - 8, second.gpa, input.edge(64)]);
        ram.poke(DMA_ADDRESS, swapped(control));
        ram.poke(DMA_ADDRESS + 4, swapped(input.bool() ? input.below(2 * ITEM_BYTES) : input.edge(32)));
        ram.poke(DMA_ADDRESS + 8, swapped(Math.floor(to / 2 ** 32)));
        ram.poke(DMA_ADDRESS + 12, swapped(to % 2 ** 32));
        const lo = new DataView(swapped(DMA_ADDRESS).buffer).getUint32(0, true);
        device.write({ offset: 4, size: 4, lo: 0, hi: 0 });
        device.write({ offset: 8, size: 4, lo, hi: 0 });
      });
    };
  },
};
