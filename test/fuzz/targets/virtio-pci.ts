import { balloonDevice } from "../../../src/devices/virtio/balloon/device.ts";
import { Bar0 } from "../../../src/devices/virtio/transport/bar-layout.ts";
import { TransportRig } from "../../unit/devices/virtio/transport-rig.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { GuardedMemory } from "../support/guarded-memory.ts";
import { playRegisters } from "../support/registers.ts";

const SETTINGS = { pages: 16, deflateOnOom: true, freePageReporting: true, statistics: true };
const COMMON = Array.from({ length: 0x40 }, (_, i) => i);

export const target: FuzzTarget = {
  what: "virtio on PCI: configuration space, common configuration, notifications, device configuration, MSI-X",
  maxBytes: 512,
  open: () => {
    const { memory } = new GuardedMemory();
    const rig = new TransportRig(balloonDevice(SETTINGS), memory);
    const { front } = rig;
    const bar = {
      read: (access: Parameters<typeof front.readBar>[1]) => front.readBar(0, access),
      write: (access: Parameters<typeof front.writeBar>[1]) => front.writeBar(0, access),
    };
    const config = {
      read: (access: Parameters<typeof front.readBar>[1]) => {
        access.lo = front.readConfig(access.offset, Math.min(access.size, 4 - (access.offset & 3)) & 3 || 4);
      },
      write: ({ offset, size, lo }: Parameters<typeof front.writeBar>[1]) => {
        // As mechanism 1 and ECAM give it: inside a dword, naturally aligned.
        const width = size === 8 ? 4 : size;
        front.writeConfig(offset - (offset % width), width, lo);
      },
    };
    const registers = [
      { device: bar, length: Bar0.SIZE, widest: 8, places: [0, ...COMMON] },
      {
        device: bar,
        length: Bar0.SIZE,
        widest: 8,
        places: [
          Bar0.NOTIFY,
          Bar0.ISR,
          Bar0.DEVICE,
          Bar0.DEVICE + 6,
          Bar0.MSIX_TABLE,
          Bar0.MSIX_TABLE + 12,
          Bar0.MSIX_PENDING,
        ],
      },
      {
        device: config,
        length: 4096,
        widest: 4,
        places: [4, 0x10, 0x14, 0x30, 0x34, 0x40, 0x44, 0x48, 0x84, 0x88, 0x8c, 0x90, 0x94, 0x98],
      },
    ] as const;
    return (input) => {
      rig.notices.length = 0;
      playRegisters(input, registers, [front], () => {
        rig.status = input.pick([0, 1, 3, 11, 15, 15, 0x80]);
        if (input.bool()) front.changeConfig(input.below(2), input.u32());
        if (input.below(4) === 0) front.nudge();
      });
      rig.status = 0;
    };
  },
};
