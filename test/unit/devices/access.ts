import { BusAccess, type BusDevice } from "../../../src/devices/bus.ts";
import type { InterruptLine, MachineRequests } from "../../../src/devices/lines.ts";
import type { MemoryBlock } from "../../../src/host/memory-block.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";

/** A block of shared memory as the arena gives it. */
export const block = (size: number): MemoryBlock => mapAnonymous(size);

/** What a vCPU reads; all ones where the device does not answer. 8 bytes give the low half. */
export function read(device: BusDevice, offset: number, size = 1): number {
  const access = new BusAccess();
  access.offset = offset;
  access.size = size;
  access.lo = 0xffff_ffff;
  access.hi = 0xffff_ffff;
  device.read(access);
  return access.lo;
}

/** The value of an access that no device answered. */
export const UNANSWERED = 0xffff_ffff;

/** A write by a vCPU. */
export function write(device: BusDevice, offset: number, value: number, size = 1): void {
  const access = new BusAccess();
  access.offset = offset;
  access.size = size;
  access.lo = value;
  device.write(access);
}

/** An interrupt line that counts its edges. */
export class CountingLine implements InterruptLine {
  edges = 0;
  pulse(): void {
    this.edges++;
  }
}

/** Records what devices ask of the machine. */
export class RecordedRequests implements MachineRequests {
  readonly asked: string[] = [];
  reset(): void {
    this.asked.push("reset");
  }
  powerOff(): void {
    this.asked.push("power-off");
  }
}

/** Every access a guest can make of a range, to devices that must survive all of them. */
export function hammer(device: BusDevice, length: number): void {
  const access = new BusAccess();
  for (let offset = 0; offset < length; offset++)
    for (const size of [1, 2, 4, 8])
      for (const value of [0, 1, 0x7f, 0x80, 0xff, 0xffff_ffff]) {
        access.offset = offset;
        access.size = size;
        access.lo = size === 1 ? value & 0xff : size === 2 ? value & 0xffff : value;
        access.hi = size === 8 ? value : 0;
        device.write(access);
        access.lo = 0xffff_ffff;
        access.hi = 0xffff_ffff;
        device.read(access);
      }
}
