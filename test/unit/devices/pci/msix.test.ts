import { describe, expect, test } from "bun:test";
import { BusAccess } from "../../../../src/devices/bus.ts";
import type { Irqfd } from "../../../../src/devices/lines.ts";
import { Msix, MsixVectors, msixState } from "../../../../src/devices/pci/msix.ts";
import { createEventFd, drainEventFd } from "../../../../src/host/eventfd.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";

const ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;
const VECTORS = 3;
const eventFds = Array.from({ length: VECTORS }, createEventFd);

interface Rig {
  readonly msix: Msix;
  /** The same vectors as an I/O thread sees them. */
  readonly io: MsixVectors;
  readonly routes: Map<number, string>;
  readonly raised: (vector: number) => boolean;
  readonly pending: () => number;
  readonly program: (vector: number, control: number, lo?: number, hi?: number) => void;
}

function rig(vectors = VECTORS): Rig {
  const type = msixState(vectors);
  const block = mapAnonymous(type.size);
  const irqfds: Irqfd[] = Array.from({ length: vectors }, (_, i) => ({ gsi: 24 + i, eventFd: eventFds[i] ?? -1 }));
  const routes = new Map<number, string>();
  const msix = new Msix(type.at(block), irqfds, {
    route: (gsi, lo, hi, data) => routes.set(gsi, [lo, hi, data].map((word) => word.toString(16)).join(" ")),
    unroute: (gsi) => routes.delete(gsi),
  });
  msix.reset();
  for (const fd of eventFds) drainEventFd(fd);
  const write = (offset: number, lo: number): void => msix.writeTable(offset, access(4, lo));
  return {
    msix,
    io: new MsixVectors(type.at(block), irqfds),
    routes,
    raised: (vector) => drainEventFd(eventFds[vector] ?? -1),
    pending: () => {
      const pba = access(4);
      msix.readPending(0, pba);
      return pba.lo;
    },
    program: (vector, control, lo = 0xfee0_1000, hi = 0) => {
      write(vector * 16, lo);
      write(vector * 16 + 4, hi);
      write(vector * 16 + 8, 0x4000 | vector);
      write(vector * 16 + 12, control);
    },
  };
}

function access(size: number, lo = 0xffff_ffff, hi = 0xffff_ffff): BusAccess {
  return Object.assign(new BusAccess(), { size, lo, hi });
}

describe("MSI-X registers", () => {
  test("control shows the size; only enable and function mask can be written", () => {
    const { msix } = rig();
    expect(msix.messageControl).toBe(VECTORS - 1);
    msix.messageControl = 0xffff;
    expect(msix.messageControl).toBe(ENABLE | FUNCTION_MASK | (VECTORS - 1));
    msix.messageControl = 0;
    expect(msix.messageControl).toBe(VECTORS - 1);
  });

  test("the table is accessed by 4 or 8 aligned bytes and ends with the last vector", () => {
    const { msix } = rig();
    const read = (offset: number, size: number): [number, number] => {
      const result = access(size);
      msix.readTable(offset, result);
      return [result.lo, result.hi];
    };
    expect(read(12, 4)).toEqual([1, 0xffff_ffff]);
    msix.writeTable(16, access(8, 0x1111_1111, 0x2222_2222));
    msix.writeTable(24, access(8, 0x3333_3333, 0xfffe));
    expect(read(16, 8)).toEqual([0x1111_1111, 0x2222_2222]);
    expect(read(24, 8)).toEqual([0x3333_3333, 0xfffe]);
    for (const [offset, size] of [
      [16, 2],
      [16, 1],
      [18, 4],
      [20, 8],
      [16 * VECTORS, 4],
      [16 * VECTORS, 8],
    ] as const) {
      msix.writeTable(offset, access(size, 0, 0));
      expect(read(offset, size)).toEqual([0xffff_ffff, 0xffff_ffff]);
    }
    expect(read(16, 8)).toEqual([0x1111_1111, 0x2222_2222]);
  });

  test("a route is made when the vector is open, follows its entry, and never leaves the APICs", () => {
    const { msix, routes, program } = rig();
    program(0, 0);
    program(1, 1);
    expect(routes.size).toBe(0);
    msix.messageControl = ENABLE | FUNCTION_MASK;
    expect(routes.size).toBe(0);
    msix.messageControl = ENABLE;
    expect([...routes]).toEqual([[24, "fee01000 0 4000"]]);
    program(1, 0, 0xfee0_2000);
    expect(routes.get(25)).toBe("fee02000 0 4001");
    msix.writeTable(16 + 8, access(4, 0x55));
    expect(routes.get(25)).toBe("fee02000 0 55");
    msix.writeTable(16 + 12, access(4, 1));
    msix.writeTable(16 + 8, access(4, 0x66));
    expect(routes.get(25)).toBe("fee02000 0 55");
    msix.writeTable(16 + 8, access(8, 0x77, 0));
    expect(routes.get(25)).toBe("fee02000 0 77");
    program(2, 0, 0xfee0_0fe0);
    expect(routes.get(26)).toBe("fee00000 7f00 4002");
    for (const [lo, hi] of [
      [0xfed0_0000, 0],
      [0xfee0_0000, 1],
    ] as const) {
      program(2, 0, lo, hi);
      expect(routes.has(26)).toBe(false);
      program(2, 0);
      expect(routes.has(26)).toBe(true);
    }
    msix.disconnect();
    expect(routes.size).toBe(0);
  });
});

describe("raising", () => {
  test("an open vector is sent, a masked one waits for its mask and the function's", () => {
    const { msix, io, raised, pending, program } = rig();
    expect(io.raise(VECTORS)).toBe(false);
    expect(io.raise(0xffff)).toBe(false);
    program(0, 0);
    io.raise(0);
    expect([raised(0), pending()]).toEqual([false, 1]);
    msix.messageControl = ENABLE;
    expect([raised(0), pending()]).toEqual([true, 0]);
    io.raise(0);
    io.raise(1);
    expect([raised(0), raised(1), pending()]).toEqual([true, false, 2]);
    msix.messageControl = ENABLE | FUNCTION_MASK;
    program(1, 0);
    expect([raised(1), pending()]).toEqual([false, 2]);
    msix.messageControl = ENABLE;
    expect([raised(1), pending()]).toEqual([true, 0]);
    program(1, 1);
    io.raise(1);
    program(1, 0);
    expect([raised(1), pending()]).toEqual([true, 0]);
    program(1, 0);
    expect(raised(1)).toBe(false);
  });

  test("the pending bits are read-only", () => {
    const { msix, io, pending } = rig();
    io.raise(2);
    msix.writeTable(16 * VECTORS, access(4, 0));
    expect(pending()).toBe(4);
    const wide = access(8);
    msix.readPending(0, wide);
    expect([wide.lo, wide.hi]).toEqual([4, 0]);
    const beyond = access(4);
    msix.readPending(8, beyond);
    expect(beyond.lo).toBe(0xffff_ffff);
  });

  /** Runs `action` with `other` squeezed in before its `step`-th atomic operation. @returns whether it got that far */
  function interleave(step: number, action: () => void, other: () => void): boolean {
    const names = ["load", "store", "or", "and"] as const;
    const originals = names.map((name) => Atomics[name]);
    let count = 0;
    let done = false;
    const restore = (): void => {
      names.forEach((name, i) => {
        Object.assign(Atomics, { [name]: originals[i] });
      });
    };
    const hook =
      (original: (...args: never[]) => unknown) =>
      (...args: never[]): unknown => {
        if (!done && count++ === step) {
          done = true;
          other();
        }
        return original(...args);
      };
    names.forEach((name, i) => {
      const original = originals[i];
      if (original !== undefined) Object.assign(Atomics, { [name]: hook(original as (...args: never[]) => unknown) });
    });
    try {
      action();
    } finally {
      restore();
    }
    return done;
  }

  /** What happens meanwhile, whether the vector is open in the end, what is before and what is done. */
  const changes: [string, boolean, (rig: Rig) => void, (rig: Rig) => void][] = [
    ["the vector is masked", false, (r) => r.program(0, 0), (r) => r.msix.writeTable(12, access(4, 1))],
    ["the vector is unmasked", true, (r) => r.program(0, 1), (r) => r.msix.writeTable(12, access(4, 0))],
    [
      "the vector is masked and unmasked",
      true,
      (r) => r.program(0, 0),
      (r) => {
        r.msix.writeTable(12, access(4, 1));
        r.msix.writeTable(12, access(4, 0));
      },
    ],
    [
      "the function is masked and unmasked",
      true,
      (r) => r.program(0, 0),
      (r) => {
        r.msix.messageControl = ENABLE | FUNCTION_MASK;
        r.msix.messageControl = ENABLE;
      },
    ],
    [
      "the function is enabled",
      true,
      (r) => {
        r.program(0, 0);
        r.msix.messageControl = 0;
      },
      (r) => {
        r.msix.messageControl = ENABLE;
      },
    ],
  ];
  test.each(changes)("no interrupt is lost or doubled when one is raised while %s", (_name, open, prepare, change) => {
    let steps = 0;
    for (const raiseFirst of [true, false])
      for (let step = 0; ; step++) {
        const r = rig();
        r.msix.messageControl = ENABLE;
        prepare(r);
        const raise = (): void => {
          r.io.raise(0);
        };
        const within = raiseFirst ? interleave(step, raise, () => change(r)) : interleave(step, () => change(r), raise);
        if (!within) break;
        steps++;
        const delivered = Number(r.raised(0));
        expect(delivered + (r.pending() & 1)).toBe(1);
        if (open) expect(delivered).toBe(1);
        r.msix.messageControl = 0;
        r.msix.messageControl = ENABLE;
        r.msix.writeTable(12, access(4, 0));
        expect([delivered + Number(r.raised(0)), r.pending()]).toEqual([1, 0]);
      }
    expect(steps).toBeGreaterThan(3);
  });
});
