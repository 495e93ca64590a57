import { afterEach, describe, expect, test } from "bun:test";
import { PartialPages } from "../../../../../src/devices/virtio/balloon/partial-pages.ts";
import { PAGE_SIZE } from "../../../../../src/host/mmap.ts";
import type { BackedRegion } from "../../../../../src/memory/ram.ts";
import { RamRelease } from "../../../../../src/memory/ram-release.ts";
import { closeRam, filledRam, HIGH, LOW, missing, pages } from "../../../memory/resident.ts";

const HUGE = 2 << 20;
afterEach(closeRam);

describe("pages of the host that are larger than the balloon's", () => {
  /** The second region as if the host gave and took 2 MiB at once. */
  function hugeRam(): { regions: readonly BackedRegion[]; partial: PartialPages } {
    const regions = filledRam().map((region) => ({ ...region, pageSize: region.gpa === HIGH ? HUGE : PAGE_SIZE }));
    return { regions, partial: new PartialPages(new RamRelease(regions)) };
  }
  const of = HUGE / PAGE_SIZE;
  const add = (partial: PartialPages, ...list: number[]): void => {
    for (const page of list) partial.add(HIGH + page * PAGE_SIZE);
  };

  test("go with the last of their parts, however often each is given", () => {
    const { regions, partial } = hugeRam();
    add(partial, ...pages(1, of - 1).reverse(), ...pages(1, of - 1), 1, 1);
    expect(missing(regions[1])).toEqual([]);
    add(partial, 0);
    expect(missing(regions[1])).toEqual(pages(0, of));
  });

  test("stay when a part is taken back, until it is given again", () => {
    const { regions, partial } = hugeRam();
    add(partial, ...pages(0, of - 1));
    partial.remove(HIGH + 5 * PAGE_SIZE);
    partial.remove(HIGH + 5 * PAGE_SIZE);
    partial.remove(HIGH + (of - 1) * PAGE_SIZE);
    partial.remove(HIGH + of * PAGE_SIZE);
    add(partial, of - 1);
    expect(missing(regions[1])).toEqual([]);
    add(partial, 5);
    expect(missing(regions[1])).toEqual(pages(0, of));
  });

  test("start anew when the driver does; small pages beside them go at once; what is outside RAM is left alone", () => {
    const { regions, partial } = hugeRam();
    add(partial, ...pages(0, of - 1));
    partial.clear();
    add(partial, of - 1);
    expect(missing(regions[1])).toEqual([]);
    partial.add(LOW + 7 * PAGE_SIZE);
    partial.add(0);
    partial.add(0xffff_ffff * PAGE_SIZE);
    partial.remove(0);
    expect(missing(regions[0])).toEqual([7]);
  });
});
