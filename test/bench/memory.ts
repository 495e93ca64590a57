import { rm } from "node:fs/promises";
import { join } from "node:path";
import { hasNetworkNamespaces, inNetworkNamespace } from "../payload/netns.ts";
import { PayloadProcess } from "../payload/process.ts";
import { vmmArguments, vmmPath } from "../payload/vmm.ts";
import { scratchDir } from "../setup/cache.ts";
import { type Figure, median } from "./figure.ts";

const MIB = 1 << 20;
const GOAL_MIB = 12;
const GOAL_MORE_MIB = 4;
const ROUNDS = 5;
/** The figure is that of a guest which has been up for this long. */
const UP_MS = 2000;

/** Private bytes of a process, without the pages of `program` and of guest RAM, which is a memfd. */
export function privateBytes(smaps: string, program: string): number {
  let total = 0;
  let counted = false;
  for (const line of smaps.split("\n")) {
    const mapping = /^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+\s*(.*)$/.exec(line);
    if (mapping !== null) {
      const [, path = ""] = mapping;
      counted = path !== program && !path.startsWith("/memfd:guest-ram");
    }
    const [, kib] = /^Private_(?:Clean|Dirty):\s+(\d+) kB$/.exec(line) ?? [];
    if (counted && kib !== undefined) {
      total += Number(kib) * 1024;
    }
  }
  return total;
}

async function measure(folder: string, more: readonly string[]): Promise<number> {
  const args = await vmmArguments("console", {
    // Shared RAM has a mapping of its own; private RAM may be one mapping with other memory of the process.
    memory: "size=512M,shared=on",
    serial: "off",
    console: "tty",
    extra: ["--disk", `path=${join(folder, "disk.raw")},image_type=raw`, "--rng", "src=/dev/urandom", ...more],
  });
  const command = [vmmPath(), ...args];
  // A TAP interface needs a namespace of its own; with or without, it is the same process.
  const machine = new PayloadProcess(
    more.includes("--net") ? inNetworkNamespace("true", command) : command,
    60_000,
    true,
  );
  await machine.nextLine((line) => line.startsWith("READY"));
  await Bun.sleep(UP_MS);
  const smaps = await Bun.file(`/proc/${machine.pid}/smaps`).text();
  machine.write("quit\n");
  await machine.outcome();
  return privateBytes(smaps, vmmPath());
}

/**
 * What the monitor itself needs: 1 vCPU, a disk, a console and an rng, with a guest that is up and waits for input; and what
 * more devices add.
 */
export async function memoryFigures(): Promise<Figure[]> {
  const folder = await scratchDir("bench-memory");
  try {
    await Bun.write(join(folder, "disk.raw"), new Uint8Array(16 * MIB));
    const network = hasNetworkNamespaces() ? ["--net", "tap="] : [];
    const devices = [
      ...network,
      "--vsock",
      `cid=3,socket=${join(folder, "vsock")}`,
      "--balloon",
      "size=0",
      "--watchdog",
    ];
    const plain: number[] = [];
    const added: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const bytes = await measure(folder, []);
      plain.push(bytes);
      added.push((await measure(folder, devices)) - bytes);
    }
    const ours = median(plain) / MIB;
    const more = median(added) / MIB;
    return [
      {
        what: "private memory, less guest RAM and the program's own pages",
        unit: "MiB",
        ours,
        others: {},
        goal: { text: `at most ${GOAL_MIB} MiB`, reached: ours <= GOAL_MIB },
      },
      {
        what: `private memory that ${network.length > 0 ? "net, " : ""}vsock, balloon and watchdog add`,
        unit: "MiB",
        ours: more,
        others: {},
        goal: { text: `under ${GOAL_MORE_MIB} MiB`, reached: more < GOAL_MORE_MIB },
      },
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
