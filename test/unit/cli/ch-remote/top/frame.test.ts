import { describe, expect, test } from "bun:test";
import { type Canvas, frame } from "../../../../../src/cli/ch-remote/top/frame.ts";
import { lineText, widthOf } from "../../../../../src/cli/ch-remote/top/line.ts";
import { viewOf } from "../../../../../src/cli/ch-remote/top/rates.ts";
import type { Sample } from "../../../../../src/cli/ch-remote/top/sample.ts";

const EARLIER: Sample = {
  atMs: 1000,
  version: "54.0.0",
  pid: 4711,
  state: "running",
  upSeconds: 3723.4,
  guestBytes: 512 << 20,
  residentBytes: 128 << 20,
  openFds: 42,
  threadCount: 9,
  vcpus: [
    { id: "0", counters: { cpuSeconds: 1, waitSeconds: 0, exits: 1000, ports: 0, mmio: 0, halts: 0, interrupts: 0 } },
    { id: "1", counters: { cpuSeconds: 1, waitSeconds: 0, exits: 1000, ports: 0, mmio: 0, halts: 0, interrupts: 0 } },
  ],
  disks: [
    { id: "_disk0", counters: { readBytes: 0, writtenBytes: 0, reads: 0, writes: 0, readSeconds: 0, writeSeconds: 0 } },
  ],
  nets: [{ id: "_net1", counters: { receivedBytes: 0, sentBytes: 0, receivedFrames: 0, sentFrames: 0 } }],
  threads: [
    { id: "io", counters: { cpuSeconds: 0 } },
    { id: "_disk0_q0", counters: { cpuSeconds: 0 } },
  ],
  uses: new Map([
    ["_disk0", "/var/lib/vm/root.raw"],
    ["_net1", "tap0"],
  ]),
};

/** Two seconds later. */
const NOW: Sample = {
  ...EARLIER,
  atMs: 3000,
  upSeconds: 3725.4,
  vcpus: [
    {
      id: "0",
      counters: { cpuSeconds: 2, waitSeconds: 0.1, exits: 25_600, ports: 4, mmio: 2000, halts: 0, interrupts: 3000 },
    },
    {
      id: "1",
      counters: { cpuSeconds: 3, waitSeconds: 0, exits: 1000, ports: 0, mmio: 0, halts: 0, interrupts: 2 },
    },
  ],
  disks: [
    {
      id: "_disk0",
      counters: { readBytes: 3 << 20, writtenBytes: 8192, reads: 768, writes: 2, readSeconds: 0.1, writeSeconds: 0.01 },
    },
  ],
  nets: [
    { id: "_net1", counters: { receivedBytes: 2 * 2 ** 30, sentBytes: 4000, receivedFrames: 3e6, sentFrames: 80 } },
  ],
  threads: [
    { id: "io", counters: { cpuSeconds: 0.01 } },
    { id: "_disk0_q0", counters: { cpuSeconds: 0.5 } },
  ],
};

const VIEW = viewOf(NOW, EARLIER);

function drawn(canvas: Partial<Canvas> = {}, view = VIEW, notice?: string): string {
  const whole: Canvas = { columns: 100, rows: Number.POSITIVE_INFINITY, unicode: false, ...canvas };
  return frame(view, whole, notice)
    .map((line) => `${lineText(line, false)}\n`)
    .join("");
}

describe("frames", () => {
  test("wide", () => {
    expect(drawn()).toMatchInlineSnapshot(`
      "ch-remote top  54.0.0  pid 4711  up 1:02:05                                                  running
      CPU    [||||||||||||||||||||||||||||||||||||            ] 150% of 2 vCPUs
      Memory [||||||||||||                                    ] 128 MiB resident, guest 512 MiB
      VMM    25.5% beside the vCPUs, 9 threads, 42 files

      vCPU                                            used  waits  exits/s  port/s  MMIO/s  halt/s   IRQ/s
      0    [|||||||||||||||||||                   ]  50.0%   5.0%    12.3k       2    1.0k       0    1.5k
      1    [||||||||||||||||||||||||||||||||||||||]   100%   0.0%        0       0       0       0       1

      disk          read/s written/s  reads/s writes/s   a read  a write image
      _disk0       1.5 MiB   4.0 KiB      384        1   130 us   5.0 ms /var/lib/vm/root.raw

      net           recv/s    sent/s frames in    out/s host side
      _net1        1.0 GiB   2.0 KiB      1.5M       40 tap0

      thread                                                               used
      _disk0_q0       [||||||||||||                                    ]  25.0%
      io              [                                                ]   0.5%
      "
    `);
  });
  test("a narrow terminal shows what matters most", () => {
    expect(drawn({ columns: 40 })).toMatchInlineSnapshot(`
      "ch-remote top  54.0.0  pid 4711  running
      CPU    [|||||||||||    ] 150% of 2 vCPUs
      Memory 128 MiB resident, guest 512 MiB
      VMM    25.5% beside the vCPUs, 9 threads

      vCPU                used  waits  exits/s
      0    [|||||     ]  50.0%   5.0%    12.3k
      1    [||||||||||]   100%   0.0%        0

      disk          read/s written/s  reads/s
      _disk0       1.5 MiB   4.0 KiB      384

      net           recv/s    sent/s frames in
      _net1        1.0 GiB   2.0 KiB      1.5M

      thread                              used
      _disk0_q0       [||||           ]  25.0%
      io              [               ]   0.5%
      "
    `);
  });
  test("a low terminal says what it leaves out", () => {
    const vcpus = Array.from({ length: 64 }, (_, index) => ({ id: String(index), rates: { cpuSeconds: 0.25 } }));
    expect(drawn({ columns: 60, rows: 20 }, { ...VIEW, vcpus })).toMatchInlineSnapshot(`
      "ch-remote top  54.0.0  pid 4711  up 1:02:05          running
      CPU    [||||||||                         ] 1600% of 64 vCPUs
      Memory [|||||              ] 128 MiB resident, guest 512 MiB
      VMM    25.5% beside the vCPUs, 9 threads, 42 files

      vCPU            used  waits  exits/s  port/s  MMIO/s  halt/s
      0    [||    ]  25.0%      -        -       -       -       -
      1    [||    ]  25.0%      -        -       -       -       -
      2    [||    ]  25.0%      -        -       -       -       -
      3    [||    ]  25.0%      -        -       -       -       -
      ... 60 more

      disk          read/s written/s  reads/s writes/s   a read
      _disk0       1.5 MiB   4.0 KiB      384        1   130 us

      net           recv/s    sent/s frames in    out/s host side
      _net1        1.0 GiB   2.0 KiB      1.5M       40 tap0

      thread                                                  used
      _disk0_q0       [|||||||||                          ]  25.0%
      "
    `);
  });
  test("before there are rates, in blocks", () => {
    expect(drawn({ columns: 60, unicode: true }, viewOf(EARLIER))).toMatchInlineSnapshot(`
      "ch-remote top  54.0.0  pid 4711  up 1:02:03          running
      CPU    [                                      ] - of 2 vCPUs
      Memory [████▊              ] 128 MiB resident, guest 512 MiB
      VMM    - beside the vCPUs, 9 threads, 42 files

      vCPU            used  waits  exits/s  port/s  MMIO/s  halt/s
      0    [      ]      -      -        -       -       -       -
      1    [      ]      -      -        -       -       -       -

      disk          read/s written/s  reads/s writes/s   a read
      _disk0             -         -        -        -        -

      net           recv/s    sent/s frames in    out/s host side
      _net1              -         -         -        - tap0

      thread                                                  used
      io              [                                   ]      -
      _disk0_q0       [                                   ]      -
      "
    `);
  });
  test("without a VM", () => {
    const none = { ...NOW, state: undefined, guestBytes: 0, vcpus: [], disks: [], nets: [], threads: [] };
    expect(drawn({ columns: 60 }, viewOf(none))).toMatchInlineSnapshot(`
      "ch-remote top  54.0.0  pid 4711  up 1:02:05            no VM
      Memory [                                  ] 128 MiB resident
      VMM    - beside the vCPUs, 9 threads, 42 files
      "
    `);
  });
});

test("no canvas is too small", () => {
  for (let columns = 1; columns <= 130; columns++)
    for (let rows = 1; rows <= 30; rows++) {
      const lines = frame(VIEW, { columns, rows, unicode: true });
      expect(lines.length).toBeLessThanOrEqual(rows);
      for (const line of lines) expect(widthOf(line)).toBeLessThanOrEqual(columns);
    }
});

test.each([
  ["created", "not booted"],
  ["running", "running"],
  ["paused", "paused"],
  ["shutdown", "shut down"],
] as const)("a VM that is %s", (state, text) => {
  expect(drawn({}, viewOf({ ...NOW, state })).split("\n")[0]).toEndWith(text);
});

test("a VM whose counters went back has rebooted, and shows no rates of that time", () => {
  const view = viewOf(EARLIER, { ...NOW, atMs: 0 });
  expect(view.vcpus[0]?.rates["exits"]).toBeUndefined();
  expect(drawn({}, view).split("\n")[0]).toEndWith("running, rebooted");
});

test("a notice stands for the state", () => {
  expect(drawn({}, VIEW, "no answer for 3 s").split("\n")[0]).toEndWith("no answer for 3 s");
});

test("colours come from the tone, and only where they are wanted", () => {
  const [line = []] = frame(VIEW, { columns: 100, rows: 1, unicode: false });
  expect(lineText(line, true)).toStartWith("\x1b[1mch-remote top\x1b[0m  54.0.0");
  expect(lineText(line, true)).toEndWith("\x1b[32mrunning\x1b[0m");
  expect(lineText(line, false)).not.toContain("\x1b");
});

test("names cannot steer the terminal", () => {
  const disks = [{ id: "\x1b[2Jä", rates: {} }];
  const uses = new Map([["\x1b[2Jä", "/\u009b\r\n"]]);
  const text = drawn({}, { ...VIEW, disks, now: { ...NOW, uses } });
  expect(text).toContain("?[2J?");
  expect(text).toContain("/???");
});

test("a state that the VMM alone knows is shown by its name, whatever that is", () => {
  for (const state of ["constructor", "__proto__"])
    expect(frame(viewOf({ ...NOW, state }), { columns: 120, rows: 24, unicode: false })[0]?.at(-1)?.text).toBe(state);
});
