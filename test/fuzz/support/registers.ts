import { BusAccess, type BusDevice } from "../../../src/devices/bus.ts";
import type { StatefulDevice } from "../../../src/devices/device.ts";
import type { Input } from "../engine/input.ts";

/** Registers that vCPUs reach. */
export interface Registers {
  readonly device: BusDevice;
  /** Bytes that the device answers for. Accesses start there, and may reach beyond. */
  readonly length: number;
  /** The widest access in bytes: 4 on ports, 8 on MMIO. */
  readonly widest: 4 | 8;
  /** Where accesses are often to start. */
  readonly places?: readonly [number, ...number[]];
}

const MOST_ACTS = 64;
const access = new BusAccess();

/** An access as a guest makes it: anywhere, of any width, with any value. @throws Error when what is read is no value */
export function accessOnce(input: Input, { device, length, widest, places }: Registers): void {
  access.offset = places !== undefined && input.below(4) > 0 ? input.pick(places) : input.below(length);
  access.size = input.pick(widest === 8 ? [1, 2, 4, 8] : [1, 2, 4, 4]);
  if (input.bool()) {
    access.lo = access.size === 4 || access.size === 8 ? input.edge(32) : input.edge(8 * access.size);
    access.hi = access.size === 8 ? input.edge(32) : 0;
    device.write(access);
  } else {
    access.lo = 0xffff_ffff;
    access.hi = 0xffff_ffff;
    device.read(access);
    if (access.lo >>> 0 !== access.lo || access.hi >>> 0 !== access.hi)
      throw new Error(`a read of ${access.size} bytes at ${access.offset} gives ${access.hi}:${access.lo}`);
  }
}

/** Saves devices and restores them: what they are then must be what they were. */
export function saveAndRestore(devices: readonly StatefulDevice[]): void {
  for (const device of devices) {
    const saved = device.save();
    device.restore(saved);
    if (Buffer.compare(device.save(), saved) !== 0) throw new Error("a device is not what was restored");
  }
}

/** Sequences of accesses to registers, and a migration at most. @param other what else may happen in between */
export function playRegisters(
  input: Input,
  registers: readonly Registers[],
  stateful: readonly StatefulDevice[],
  other: (input: Input) => void = () => undefined,
): void {
  for (const device of stateful) device.reset();
  let migrated = false;
  for (let acts = 0; acts < MOST_ACTS && !input.isEmpty; acts++) {
    const choice = input.below(32);
    if (choice === 31) {
      if (!migrated) saveAndRestore(stateful);
      migrated = true;
    } else if (choice >= 28) other(input);
    else {
      const chosen = registers[input.below(registers.length)];
      if (chosen !== undefined) accessOnce(input, chosen);
    }
  }
}
