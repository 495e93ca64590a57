import { describe, expect, test } from "bun:test";
import {
  AddressSpaceError,
  addressSpaceEnd,
  divideAddressSpace,
} from "../../../../src/machine/x86_64/address-space.ts";
import { e820MemoryMap, MemoryType, pvhMemoryMap } from "../../../../src/machine/x86_64/memory-map.ts";
import { MAX_PCI_SEGMENTS, pciSegments } from "../../../../src/machine/x86_64/pci-apertures.ts";
import { placeRam, RamPlacementError, ramEnd, ramRuns } from "../../../../src/machine/x86_64/ram-placement.ts";
import { type Gpa, gpa } from "../../../../src/memory/address.ts";

const KIB = 2 ** 10;
const MIB = 2 ** 20;
const GIB = 2 ** 30;
const PAGE = 4 * KIB;

const tuples = (sizes: readonly (readonly [size: number, pageSize: number])[], bits = 46) =>
  placeRam(
    sizes.map(([size, pageSize]) => ({ size, pageSize })),
    bits,
  ).map(({ gpa, size, zone, fileOffset }) => [gpa as number, size, zone, fileOffset]);

describe("RAM around the 32-bit hole", () => {
  test.each([
    ["small", [[64 * MIB, PAGE]], [[0, 64 * MIB, 0, 0]]],
    ["up to the hole", [[3 * GIB, PAGE]], [[0, 3 * GIB, 0, 0]]],
    [
      "one page more",
      [[3 * GIB + PAGE, PAGE]],
      [
        [0, 3 * GIB, 0, 0],
        [4 * GIB, PAGE, 0, 3 * GIB],
      ],
    ],
    [
      "two zones, the second split",
      [
        [2 * GIB, PAGE],
        [2 * GIB, PAGE],
      ],
      [
        [0, 2 * GIB, 0, 0],
        [2 * GIB, GIB, 1, 0],
        [4 * GIB, GIB, 1, GIB],
      ],
    ],
    [
      "a zone that ends at the hole, and another",
      [
        [3 * GIB, PAGE],
        [GIB, PAGE],
      ],
      [
        [0, 3 * GIB, 0, 0],
        [4 * GIB, GIB, 1, 0],
      ],
    ],
    [
      "pages of 1 GiB after an odd zone leave addresses below the hole unused",
      [
        [GIB + 512 * MIB, PAGE],
        [3 * GIB, GIB],
        [MIB, PAGE],
      ],
      [
        [0, GIB + 512 * MIB, 0, 0],
        [GIB + 512 * MIB, GIB, 1, 0],
        [4 * GIB, 2 * GIB, 1, GIB],
        [6 * GIB, MIB, 2, 0],
      ],
    ],
    [
      "a page larger than the room below the hole",
      [
        [2 * GIB + 512 * MIB, PAGE],
        [GIB, GIB],
      ],
      [
        [0, 2 * GIB + 512 * MIB, 0, 0],
        [4 * GIB, GIB, 1, 0],
      ],
    ],
  ] as const)("%s", (_, zones, expected) => {
    expect(tuples(zones)).toEqual(expected.map((piece) => [...piece]));
  });

  test.each([
    ["no RAM", [[0, PAGE]], 46, "0 bytes"],
    ["no zone", [], 46, "larger than 1 MiB"],
    ["1 MiB", [[MIB, PAGE]], 46, "larger than 1 MiB"],
    ["half a page", [[64 * MIB + 2 * KIB, PAGE]], 46, "multiple of its page size of 4096"],
    ["no whole huge page", [[3 * MIB, 2 * MIB]], 46, "multiple of its page size"],
    ["a page that is not below the hole", [[4 * GIB, 4 * GIB]], 46, "larger than 1 MiB"],
    ["more than 2^46", [[2 ** 46, PAGE]], 46, "does not fit the address space"],
    ["more than a number holds exactly", [[2 ** 64, PAGE]], 46, "does not fit the address space"],
    ["not a number", [[Number.NaN, PAGE]], 46, "does not fit the address space"],
    [
      "more than 36 bits address in two zones",
      [
        [40 * GIB, PAGE],
        [40 * GIB, PAGE],
      ],
      36,
      "does not fit the address space",
    ],
    ["more than 36 bits address", [[64 * GIB, PAGE]], 36, "does not fit the address space"],
  ] as const)("%s is refused", (_, zones, bits, message) => {
    expect(() => tuples(zones, bits)).toThrow(RamPlacementError);
    expect(() => tuples(zones, bits)).toThrow(message);
  });

  test("two zones may share the first MiB", () => {
    expect(
      ramRuns(
        placeRam(
          [
            { size: 64 * KIB, pageSize: PAGE },
            { size: 2 * MIB, pageSize: PAGE },
          ],
          46,
        ),
      ),
    ).toEqual([{ gpa: gpa(0), size: 64 * KIB + 2 * MIB }]);
  });

  test("the end of RAM", () => {
    expect(ramEnd(placeRam([{ size: 5 * GIB, pageSize: PAGE }], 46))).toBe(gpa(6 * GIB));
    expect(ramEnd([])).toBe(gpa(0));
  });
});

describe("address space above RAM", () => {
  const TOP = 0x3fff_ffff_0000;
  const END = TOP - MIB;

  test("without hotplug", () => {
    const { deviceArea, controllers, hotplugWindow, virtioMem } = divideAddressSpace(gpa(512 * MIB), 46, undefined);
    expect(deviceArea).toEqual({ base: gpa(4 * GIB), length: END - 4 * GIB });
    expect(hotplugWindow).toBeUndefined();
    expect(virtioMem).toEqual([]);
    expect(controllers).toEqual({
      memoryHotplug: undefined,
      pciHotplug: gpa(0x3fff_fffe_f000),
      cpuHotplug: gpa(0x3fff_fffe_e000),
      events: gpa(0x3fff_fffe_d000),
    });
  });

  test.each([
    [3 * GIB, 4 * GIB],
    [4 * GIB + PAGE, 4 * GIB + PAGE],
    [6 * GIB, 6 * GIB],
  ])("RAM that ends at %d leaves devices what is above %d", (ramEnd, base) => {
    expect(divideAddressSpace(gpa(ramEnd), 46, undefined).deviceArea.base).toBe(gpa(base));
  });

  test("ACPI memory hotplug starts on 128 MiB and has a controller", () => {
    const space = divideAddressSpace(gpa(4 * GIB + PAGE), 46, { method: "acpi", size: GIB });
    expect(space.hotplugWindow).toEqual({ base: gpa(4 * GIB + 128 * MIB), length: GIB });
    expect(space.deviceArea.base).toBe(gpa(5 * GIB + 128 * MIB));
    expect(space.controllers).toEqual({
      memoryHotplug: gpa(TOP - 0x1000),
      pciHotplug: gpa(TOP - 0x2000),
      cpuHotplug: gpa(TOP - 0x3000),
      events: gpa(TOP - 0x4000),
    });
  });

  test("ACPI memory hotplug of a machine with little RAM starts at 4 GiB", () => {
    expect(divideAddressSpace(gpa(GIB), 46, { method: "acpi", size: GIB }).hotplugWindow?.base).toBe(gpa(4 * GIB));
  });

  test("virtio-mem of the default zone", () => {
    const space = divideAddressSpace(gpa(4 * GIB + MIB), 46, { method: "virtio-mem", size: 256 * MIB });
    expect(space.virtioMem).toEqual([{ base: gpa(4 * GIB + 128 * MIB), length: 256 * MIB }]);
    expect(space.deviceArea.base).toBe(gpa(4 * GIB + 384 * MIB));
    expect(space.controllers.memoryHotplug).toBeUndefined();
  });

  test("virtio-mem of zones: one region each, and only regions are aligned", () => {
    const space = divideAddressSpace(gpa(4 * GIB + MIB), 46, {
      method: "virtio-mem-zones",
      sizes: [128 * MIB, 0, 256 * MIB],
    });
    expect(space.virtioMem).toEqual([
      { base: gpa(4 * GIB + 128 * MIB), length: 128 * MIB },
      undefined,
      { base: gpa(4 * GIB + 256 * MIB), length: 256 * MIB },
    ]);
    expect(divideAddressSpace(gpa(4 * GIB + MIB), 46, { method: "virtio-mem-zones", sizes: [0] }).deviceArea.base).toBe(
      gpa(4 * GIB + MIB),
    );
  });

  test("hotplug memory that leaves no device area is refused", () => {
    expect(() => divideAddressSpace(gpa(GIB), 36, { method: "acpi", size: 2 ** 36 })).toThrow(AddressSpaceError);
    expect(() => divideAddressSpace(gpa(GIB), 36, { method: "virtio-mem", size: 2 ** 80 })).toThrow("hotplug_size");
  });

  test("its end follows from the address width", () => {
    expect(addressSpaceEnd(46)).toBe(gpa(END));
    expect(addressSpaceEnd(39)).toBe(gpa(2 ** 39 - 64 * KIB - MIB));
  });
});

describe("PCI apertures", () => {
  const area = { base: gpa(4 * GIB), length: addressSpaceEnd(46) - 4 * GIB };
  const even = (count: number) => Array.from({ length: count }, () => ({ mmio32: 1, mmio64: 1 }));

  test("one segment has everything", () => {
    expect(pciSegments(even(1), area)).toEqual([
      { ecamBase: gpa(0xe800_0000), mmio32: { base: gpa(0xc000_0000), length: 0x2800_0000 }, mmio64: area },
    ]);
  });

  test("shares are whole granules and the last one has the rest", () => {
    const [first, second, third] = pciSegments(even(3), area);
    expect(first?.mmio32).toEqual({ base: gpa(0xc000_0000), length: 0xd55_5000 });
    expect(second?.mmio32).toEqual({ base: gpa(0xcd55_5000), length: 0xd55_5000 });
    expect(third?.mmio32).toEqual({ base: gpa(0xdaaa_a000), length: 0xe800_0000 - 0xdaaa_a000 });
    const share = Math.floor(area.length / (3 * 4 * GIB)) * 4 * GIB;
    expect(first?.mmio64).toEqual({ base: area.base, length: share });
    expect((third?.mmio64.base ?? 0) + (third?.mmio64.length ?? 0)).toBe(addressSpaceEnd(46) as number);
    expect([first, second, third].map((segment) => segment?.ecamBase as number)).toEqual([
      0xe800_0000, 0xe810_0000, 0xe820_0000,
    ]);
  });

  test("weights", () => {
    const segments = pciSegments(
      [
        { mmio32: 1, mmio64: 3 },
        { mmio32: 4, mmio64: 1 },
      ],
      { base: gpa(4 * GIB), length: 16 * GIB },
    );
    expect(segments.map(({ mmio32, mmio64 }) => [mmio32.length, mmio64.length])).toEqual([
      [128 * MIB, 12 * GIB],
      [512 * MIB, 4 * GIB],
    ]);
  });

  test("an area of less than a granule goes to the last segment", () => {
    const segments = pciSegments(even(2), { base: gpa(4 * GIB), length: GIB });
    expect(segments.map(({ mmio64 }) => mmio64)).toEqual([
      { base: gpa(4 * GIB), length: 0 },
      { base: gpa(4 * GIB), length: GIB },
    ]);
  });

  test("impossible weights are refused", () => {
    expect(() => pciSegments([{ mmio32: 0, mmio64: 1 }], area)).toThrow(RangeError);
    expect(() => pciSegments(even(MAX_PCI_SEGMENTS + 1), area)).toThrow(RangeError);
  });
});

describe("memory maps", () => {
  const { RAM, RESERVED } = MemoryType;
  const low = [0, 0xa_0000, RAM] as const;
  const ecam = [0xe800_0000, 0x1000_0000, RESERVED] as const;
  const flat = (map: readonly { gpa: Gpa; size: number; type: number }[]) =>
    map.map(({ gpa, size, type }) => [gpa as number, size, type]);
  const ram = (...sizes: number[]) =>
    placeRam(
      sizes.map((size) => ({ size, pageSize: PAGE })),
      46,
    );

  test.each([
    ["512 MiB", ram(512 * MIB), [low, [MIB, 511 * MIB, RAM], ecam]],
    ["two zones below the hole", ram(64 * MIB, 64 * MIB), [low, [MIB, 127 * MIB, RAM], ecam]],
    ["5 GiB", ram(5 * GIB), [low, [MIB, 3 * GIB - MIB, RAM], [4 * GIB, 2 * GIB, RAM], ecam]],
  ] as const)("of %s, either way", (_, pieces, expected) => {
    expect(flat(pvhMemoryMap(pieces))).toEqual(expected.map((entry) => [...entry]));
    expect(flat(e820MemoryMap(ramEnd(pieces)))).toEqual(expected.map((entry) => [...entry]));
  });

  test("only PVH is told that RAM ends before the hole", () => {
    const pieces = placeRam(
      [
        { size: 512 * MIB, pageSize: PAGE },
        { size: 4 * GIB, pageSize: GIB },
      ],
      46,
    );
    expect(flat(pvhMemoryMap(pieces))).toEqual([
      [...low],
      [MIB, 2 * GIB + 511 * MIB, RAM],
      [4 * GIB, 2 * GIB, RAM],
      [...ecam],
    ]);
    expect(flat(e820MemoryMap(ramEnd(pieces)))).toEqual([
      [...low],
      [MIB, 3 * GIB - MIB, RAM],
      [4 * GIB, 2 * GIB, RAM],
      [...ecam],
    ]);
  });
});
