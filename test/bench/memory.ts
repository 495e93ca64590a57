import { rm } from "node:fs/promises";
import { join } from "node:path";
import { startOnVmm, vmmPath } from "../payload/vmm.ts";
import { scratchDir } from "../setup/cache.ts";
import type { Figure } from "./figure.ts";

// A size that no reservation of the JavaScript engine has.
const GUEST_BYTES = 516 << 20;
const MIB = 1 << 20;
const GOAL_MIB = 12;

/** Private bytes of a process, without the mappings of `program` and the one of just the size of guest RAM. */
export function privateBytes(smaps: string, program: string, guestBytes: number): number {
  let total = 0;
  let counted = false;
  for (const line of smaps.split("\n")) {
    const mapping = /^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \S+\s*(.*)$/.exec(line);
    if (mapping !== null) {
      const [, start = "", end = "", path = ""] = mapping;
      counted = path !== program && Number.parseInt(end, 16) - Number.parseInt(start, 16) !== guestBytes;
    }
    const [, kib] = /^Private_(?:Clean|Dirty):\s+(\d+) kB$/.exec(line) ?? [];
    if (counted && kib !== undefined) {
      total += Number(kib) * 1024;
    }
  }
  return total;
}

/** What the monitor itself needs: 1 vCPU, a disk, a console and an rng, with a guest that is up and waits for input. */
export async function memoryFigures(): Promise<Figure[]> {
  const folder = await scratchDir("bench-memory");
  try {
    const disk = join(folder, "disk.raw");
    await Bun.write(disk, new Uint8Array(16 * MIB));
    const machine = await startOnVmm("console", {
      memory: `size=${GUEST_BYTES}`,
      serial: "off",
      console: "tty",
      terminal: true,
      extra: ["--disk", `path=${disk},image_type=raw`, "--rng", "src=/dev/urandom"],
    });
    await machine.nextLine((line) => line.startsWith("READY"));
    const smaps = await Bun.file(`/proc/${machine.pid}/smaps`).text();
    machine.write("quit\n");
    await machine.outcome();
    const ours = privateBytes(smaps, vmmPath(), GUEST_BYTES) / MIB;
    return [
      {
        what: "private memory, less guest RAM and the program's own pages",
        unit: "MiB",
        ours,
        others: {},
        goal: { text: `at most ${GOAL_MIB} MiB`, reached: ours <= GOAL_MIB },
      },
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
