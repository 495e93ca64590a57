import { expect, test } from "bun:test";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { gpa, hva } from "../../../src/memory/address.ts";
import { DeviceMemory } from "../../../src/memory/device-memory.ts";
import { GuestMemory, GuestMemoryError, type RamRegion } from "../../../src/memory/guest-memory.ts";
import { refTo } from "../../../src/threads/block-ref.ts";

const PAGE = 4096;
const DEVICE_GPA = 0x1_0000_0000;

function region(at: number): RamRegion {
  return { gpa: gpa(at), size: PAGE, hva: hva(mapAnonymous(PAGE).address) };
}

test("memory of devices is guest memory while it is there, for every thread's view", () => {
  const block = refTo(mapAnonymous(DeviceMemory.blockSize));
  const owner = new DeviceMemory(block);
  const ram = region(0);
  const memory = new GuestMemory([ram], new DeviceMemory(block));
  expect(memory.hva(DEVICE_GPA, 8)).toBe(0);

  const device = region(DEVICE_GPA);
  owner.add(device);
  expect(memory.hva(DEVICE_GPA, PAGE)).toBe(device.hva);
  expect(memory.hva(DEVICE_GPA + PAGE - 8, 8)).toBe(device.hva + PAGE - 8);
  expect(memory.hva(0, 8)).toBe(ram.hva);
  memory.writeU32(DEVICE_GPA + 2, 0x1122_3344);
  memory.write(DEVICE_GPA + 6, Uint8Array.of(5, 6));
  expect(memory.readU32(DEVICE_GPA + 4)).toBe(0x0605_1122);

  for (const [at, length] of [
    [DEVICE_GPA - 1, 1],
    [DEVICE_GPA - 4, 8],
    [DEVICE_GPA + PAGE - 4, 8],
    [DEVICE_GPA + PAGE, 0],
    [DEVICE_GPA, -1],
    [Number.NaN, 1],
    [2 ** 64, 1],
  ] as const)
    expect(memory.hva(at, length)).toBe(0);

  owner.remove(device);
  expect(memory.hva(DEVICE_GPA, 8)).toBe(0);
  expect(() => memory.readU8(DEVICE_GPA)).toThrow(GuestMemoryError);
});

test("as many as a bus has slots, whose places are used again", () => {
  const memory = new DeviceMemory(refTo(mapAnonymous(DeviceMemory.blockSize)));
  const regions = Array.from({ length: 32 }, (_, i) => ({
    gpa: gpa(DEVICE_GPA + i * PAGE),
    size: PAGE,
    hva: hva(PAGE + i),
  }));
  for (const each of regions) memory.add(each);
  const more = { gpa: gpa(0x5000), size: PAGE, hva: hva(77) };
  expect(() => memory.add(more)).toThrow(RangeError);
  expect(memory.hva(DEVICE_GPA + 31 * PAGE + 1, 1)).toBe(PAGE + 32);
  const [, second] = regions;
  if (second !== undefined) memory.remove(second);
  memory.add(more);
  expect(memory.hva(DEVICE_GPA + PAGE, 1)).toBe(0);
  expect(memory.hva(0x5004, 4)).toBe(81);
});
