import { PciSegment } from "../../../src/devices/pci/segment.ts";
import { Pvmemcontrol } from "../../../src/devices/pvmemcontrol/device.ts";
import { refTo } from "../../../src/threads/block-ref.ts";
import { block } from "../../unit/devices/access.ts";
import { M32, M64 } from "../../unit/devices/virtio/transport-rig.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { GuardedMemory } from "../support/guarded-memory.ts";
import { playRegisters } from "../support/registers.ts";

/** Known commands, and the first connections. */
const COMMANDS: readonly [number, ...number[]] = [
  0x03cf_5196, 0x01fb_a249, 0x060f_e6d2, 0x0e35_9539, 0x0ca8_d227, 0x030f_5da0, 0x8000_0000, 0x8000_0001,
];
const COMMAND = 8;
const BUFFER = 0x10_0000;

export const target: FuzzTarget = {
  what: "the memory control device: commands, connections, requests",
  maxBytes: 512,
  open: () => {
    const ram = new GuardedMemory();
    const mover = new PciSegment({
      number: 0,
      block: refTo(block(PciSegment.blockSize)),
      memory32: M32,
      memory64: M64,
    });
    const device = new Pvmemcontrol(
      {
        id: "p",
        block: refTo(block(Pvmemcontrol.blockSize)),
        state: refTo(block(Pvmemcontrol.stateSize)),
        bar0: 0xe000_0000,
      },
      { mover, ram: ram.memory },
    );
    const bar = {
      read: (access: Parameters<Pvmemcontrol["readBar"]>[1]) => device.readBar(0, access),
      write: (access: Parameters<Pvmemcontrol["writeBar"]>[1]) => device.writeBar(0, access),
    };
    const registers = [{ device: bar, length: 16, widest: 8, places: [0, 4, 8] }] as const;
    const command = (lo: number): void => bar.write({ offset: COMMAND, size: 4, lo, hi: 0 });
    return (input) => {
      ram.clear();
      playRegisters(input, registers, [device], () => {
        if (input.bool()) {
          command(input.pick(COMMANDS));
          return;
        }
        const [first, second = first] = ram.regions;
        const at = input.pick([BUFFER, BUFFER + first.size - 32, BUFFER + first.size - 31, second.gpa]);
        const words = [
          input.below(16),
          input.pick([first.gpa + 4096 * input.below(16), input.edge(64)]),
          input.pick([4096, 0, input.edge(64)]),
          input.u8(),
        ];
        ram.poke(at, new Uint8Array(BigUint64Array.from(words.map((word) => BigInt(word))).buffer));
        bar.write({ offset: 0, size: 8, lo: at % 2 ** 32, hi: Math.floor(at / 2 ** 32) });
        command(input.pick(COMMANDS));
      });
    };
  },
};
