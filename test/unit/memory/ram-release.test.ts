import { afterEach, describe, expect, test } from "bun:test";
import { fstatSync } from "node:fs";
import { PAGE_SIZE } from "../../../src/host/mmap.ts";
import { GuestMemory } from "../../../src/memory/guest-memory.ts";
import { RamRelease } from "../../../src/memory/ram-release.ts";
import { closeRam, filledRam, HIGH, HIGH_PAGES, LOW, LOW_PAGES, missing, pages, plain } from "./resident.ts";

const HUGE = 2 << 20;
afterEach(closeRam);

describe.each([false, true])("releasing memory, shared: %p", (shared) => {
  test("the pages that lie wholly in the range, and no other", () => {
    const regions = filledRam({ ...plain, shared });
    const ram = new RamRelease(regions);
    expect(ram.largestPage).toBe(PAGE_SIZE);
    ram.release(LOW + 3 * PAGE_SIZE, 2 * PAGE_SIZE);
    ram.release(LOW + 10 * PAGE_SIZE + 1, 3 * PAGE_SIZE);
    ram.release(HIGH, 1);
    expect(missing(regions[0])).toEqual([3, 4, 11, 12]);
    expect(missing(regions[1])).toEqual([]);
    const { fd } = regions[0] ?? {};
    if (fd !== undefined) expect(fstatSync(fd).blocks * 512).toBe((LOW_PAGES - 4) * PAGE_SIZE);
    expect(new GuestMemory(regions).readU32(LOW + 3 * PAGE_SIZE)).toBe(0);
    expect(new GuestMemory(regions).readU32(LOW + 5 * PAGE_SIZE)).toBe(1);
  });

  test("of ranges that leave RAM, the part inside", () => {
    const regions = filledRam({ ...plain, shared });
    const ram = new RamRelease(regions);
    ram.release(LOW + (LOW_PAGES - 1) * PAGE_SIZE, HIGH - LOW - (LOW_PAGES - 2) * PAGE_SIZE);
    expect(missing(regions[0])).toEqual([LOW_PAGES - 1]);
    expect(missing(regions[1])).toEqual([0]);
    ram.release(0, LOW + PAGE_SIZE);
    expect(missing(regions[0])).toEqual([0, LOW_PAGES - 1]);
    for (const [at, length] of [
      [HIGH + HIGH_PAGES * PAGE_SIZE, PAGE_SIZE],
      [0xffff_ffff * PAGE_SIZE, 1024 * PAGE_SIZE],
      [-PAGE_SIZE, PAGE_SIZE],
      [LOW, -1],
      [2 ** 63, 2 ** 63],
      [Number.NaN, PAGE_SIZE],
    ] as const)
      ram.release(at, length);
    expect(missing(regions[1])).toEqual([0]);
    ram.release(0, 2 ** 64);
    expect([missing(regions[0]).length, missing(regions[1]).length]).toEqual([LOW_PAGES, HIGH_PAGES]);
  });
});

test("pages that are larger than usual are released whole", () => {
  const regions = filledRam().map((region) => ({ ...region, pageSize: region.gpa === HIGH ? HUGE : PAGE_SIZE }));
  const ram = new RamRelease(regions);
  expect(ram.largestPage).toBe(HUGE);
  ram.release(HIGH + PAGE_SIZE, HUGE);
  expect(missing(regions[1])).toEqual([]);
  ram.release(HIGH + PAGE_SIZE, 2 * HUGE - PAGE_SIZE);
  expect(missing(regions[1])).toEqual(pages(HUGE / PAGE_SIZE, HUGE / PAGE_SIZE));
});
