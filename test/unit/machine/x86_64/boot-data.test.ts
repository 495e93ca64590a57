import { describe, expect, test } from "bun:test";
import { bootData } from "../../../../src/machine/x86_64/boot/boot-data.ts";
import { BOOT_SEGMENTS, bootGdt } from "../../../../src/machine/x86_64/boot/segments.ts";
import {
  BOOT_FPU,
  BOOT_MSRS,
  entryRegisters,
  entrySpecialRegisters,
  LINT_DELIVERY,
} from "../../../../src/machine/x86_64/boot/vcpu-entry.ts";
import { BootSpaceError } from "../../../../src/machine/x86_64/loader/errors.ts";
import type { LoadedKernel } from "../../../../src/machine/x86_64/loader/kernel.ts";
import { placeRam } from "../../../../src/machine/x86_64/ram-placement.ts";
import { gpa } from "../../../../src/memory/address.ts";

const PVH: LoadedKernel = { protocol: "pvh", entry: gpa(0x100_0a30), occupied: [] };
const RAM = placeRam([{ size: 5 * 2 ** 30, pageSize: 4096 }], 46);
const INITRAMFS = { base: gpa(0xbf00_1000), length: 0xfe_f123 };

/** What each address holds, as hex digits. */
function lowMemory(kernel: LoadedKernel, cmdline: string | undefined, initramfs?: typeof INITRAMFS) {
  const data = bootData({ kernel, cmdline, initramfs, ram: RAM });
  return new Map(data.map(({ gpa, bytes }) => [gpa as number, Buffer.from(bytes).toString("hex")]));
}

/** The little-endian bytes of fields, as hex digits. */
function fields(...values: readonly (readonly [size: 1 | 2 | 4 | 8, value: number])[]): string {
  return values
    .map(([size, value]) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(BigInt(value));
      return bytes.toString("hex", 0, size);
    })
    .join("");
}

const GDT = "0000000000000000ffff0000009bcf00ffff00000093cf0067000000008b0000";

describe("PVH", () => {
  test("with an initramfs, byte by byte", () => {
    const memory = lowMemory(PVH, "console=hvc0", INITRAMFS);
    expect([...memory.keys()].sort((a, b) => a - b)).toEqual([0x40e, 0x500, 0x520, 0x6000, 0x6040, 0x7000, 0x20000]);
    expect(memory.get(0x40e)).toBe("00a0");
    expect(memory.get(0x500)).toBe(GDT);
    expect(memory.get(0x520)).toBe("0000000000000000");
    expect(memory.get(0x6000)).toBe(
      fields(
        [4, 0x336e_c578],
        [4, 1],
        [4, 0],
        [4, 1],
        [8, 0x6040],
        [8, 0x2_0000],
        [8, 0xa_0000],
        [8, 0x7000],
        [4, 4],
        [4, 0],
      ),
    );
    expect(memory.get(0x6040)).toBe(fields([8, 0xbf00_1000], [8, 0xfe_f123], [8, 0], [8, 0]));
    expect(memory.get(0x7000)).toBe(
      fields([8, 0], [8, 0xa_0000], [4, 1], [4, 0]) +
        fields([8, 0x10_0000], [8, 0xbff0_0000], [4, 1], [4, 0]) +
        fields([8, 0x1_0000_0000], [8, 0x8000_0000], [4, 1], [4, 0]) +
        fields([8, 0xe800_0000], [8, 0x1000_0000], [4, 2], [4, 0]),
    );
    expect(memory.get(0x2_0000)).toBe(Buffer.from("console=hvc0\0").toString("hex"));
  });

  test("without an initramfs there is no module", () => {
    const memory = lowMemory(PVH, "");
    expect(memory.has(0x6040)).toBe(false);
    expect(memory.get(0x6000)?.slice(24, 48)).toBe(fields([4, 0], [8, 0]));
    expect(memory.get(0x2_0000)).toBe("00");
  });

  test("firmware gets the address of an empty command line", () => {
    const memory = lowMemory(PVH, undefined);
    expect(memory.has(0x2_0000)).toBe(false);
    expect(memory.get(0x6000)?.slice(48, 64)).toBe(fields([8, 0x2_0000]));
  });
});

describe("Linux boot protocol", () => {
  /** Each byte of the header is its offset, so that whatever is not patched is known. */
  const setupHeader = Uint8Array.from({ length: 123 }, (_, i) => (0x1f1 + i) & 0xff);
  const kernel: LoadedKernel = { protocol: "linux", entry: gpa(0x10_0000), setupHeader, occupied: [] };
  const expectedPage = (patch: (page: DataView) => void): string => {
    const page = Buffer.alloc(4096);
    page.set(setupHeader, 0x1f1);
    const view = new DataView(page.buffer, page.byteOffset, page.length);
    view.setUint32(0x214, 0x10_0000, true);
    view.setUint32(0x228, 0x2_0000, true);
    view.setUint32(0x238, 0x1_0000, true);
    view.setUint32(0x70, 0xa_0000, true);
    view.setUint8(0x1e8, 4);
    const e820 =
      fields([8, 0], [8, 0xa_0000], [4, 1]) +
      fields([8, 0x10_0000], [8, 0xbff0_0000], [4, 1]) +
      fields([8, 0x1_0000_0000], [8, 0x8000_0000], [4, 1]) +
      fields([8, 0xe800_0000], [8, 0x1000_0000], [4, 2]);
    page.write(e820, 0x2d0, "hex");
    patch(view);
    return page.toString("hex");
  };

  test("with an initramfs", () => {
    const memory = lowMemory(kernel, "quiet", INITRAMFS);
    expect([...memory.keys()].sort((a, b) => a - b)).toEqual([0x40e, 0x500, 0x520, 0x7000, 0x20000]);
    expect(memory.get(0x7000)).toBe(
      expectedPage((page) => {
        page.setUint32(0x218, INITRAMFS.base, true);
        page.setUint32(0x21c, INITRAMFS.length, true);
      }),
    );
  });

  test("without one the ramdisk fields stay as they are", () => {
    expect(lowMemory(kernel, "quiet").get(0x7000)).toBe(expectedPage(() => {}));
  });

  test("the type of loader is set where the image has none", () => {
    const header = setupHeader.slice();
    header[0x210 - 0x1f1] = 0;
    const page = lowMemory({ ...kernel, setupHeader: header }, "quiet").get(0x7000);
    expect(page).toBe(expectedPage((view) => view.setUint8(0x210, 0xff)));
  });
});

describe("command line", () => {
  const longest = "x".repeat(0xffff);

  test("fills its buffer with the NUL", () => {
    expect(lowMemory(PVH, longest).get(0x2_0000)).toBe(`${"78".repeat(0xffff)}00`);
  });

  test.each([
    ["one byte more", `${longest}x`, "at most 65535"],
    ["as many characters of two bytes", "ü".repeat(0x8000), "65536 bytes"],
    ["a NUL inside", "a\0b", "NUL"],
  ])("%s is refused", (_, text, message) => {
    expect(() => lowMemory(PVH, text)).toThrow(BootSpaceError);
    expect(() => lowMemory(PVH, text)).toThrow(message);
  });
});

describe("vCPU state at entry", () => {
  test("general registers", () => {
    expect(entryRegisters(PVH)).toEqual({ rip: 0x100_0a30, rflags: 2, rbx: 0x6000 });
    expect(entryRegisters({ protocol: "linux", entry: gpa(0x10_0000) })).toEqual({
      rip: 0x10_0000,
      rflags: 2,
      rsi: 0x7000,
      rsp: 0x8ff0,
    });
  });

  test("special registers", () => {
    const flat = { base: 0, limit: 0xffff_ffff, present: 1, dpl: 0, db: 1, s: 1, l: 0, g: 1, avl: 0, unusable: 0 };
    expect(entrySpecialRegisters(false)).toEqual({
      code: { ...flat, selector: 0x08, type: 0xb },
      data: { ...flat, selector: 0x10, type: 0x3 },
      task: { ...flat, selector: 0x18, type: 0xb, limit: 0x67, db: 0, s: 0, g: 0 },
      gdt: { base: 0x500, limit: 0x1f },
      idt: { base: 0x520, limit: 7 },
      cr0: 1n,
      cr4: 0n,
      x2apic: false,
    });
    expect(entrySpecialRegisters(true).x2apic).toBe(true);
  });

  test("the GDT describes the segments", () => {
    const gdt = new BigUint64Array(bootGdt().slice().buffer);
    expect([...gdt]).toEqual([0n, 0x00cf_9b00_0000_ffffn, 0x00cf_9300_0000_ffffn, 0x0000_8b00_0000_0067n]);
    expect(BOOT_SEGMENTS.code.selector / 8).toBe(1);
  });

  test("MSRs, FPU and local interrupts", () => {
    expect(new Map(BOOT_MSRS.map(({ index, data }) => [index, data]))).toEqual(
      new Map([
        [0x174, 0n],
        [0x175, 0n],
        [0x176, 0n],
        [0xc000_0081, 0n],
        [0xc000_0082, 0n],
        [0xc000_0083, 0n],
        [0xc000_0084, 0n],
        [0xc000_0102, 0n],
        [0x10, 0n],
        [0x1a0, 1n],
        [0x2ff, 0x806n],
      ]),
    );
    expect(BOOT_FPU).toEqual({ fcw: 0x37f, mxcsr: 0x1f80 });
    expect(LINT_DELIVERY).toEqual({ lint0: 7, lint1: 4 });
  });
});
