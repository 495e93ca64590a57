import { readdirSync, readFileSync } from "node:fs";
import { rm, truncate } from "node:fs/promises";
import { join } from "node:path";
import { hasNetworkNamespaces, inNetworkNamespace } from "../payload/netns.ts";
import { PayloadProcess } from "../payload/process.ts";
import { vmmArguments, vmmPath } from "../payload/vmm.ts";
import { scratchDir } from "../setup/cache.ts";
import type { Figure } from "./figure.ts";

const GOAL_PERCENT = 0.1;
/** From boot to measuring: until then the runtime collects what the boot left, in steps that take 10 ms and more. */
const SETTLE_MS = 12_000;
const MEASURE_MS = 10_000;

/** Processor time of each thread of a process, in nanoseconds. */
function cpuTimes(pid: number): ReadonlyMap<string, number> {
  const times = new Map<string, number>();
  for (const tid of readdirSync(`/proc/${pid}/task`))
    try {
      times.set(tid, Number(readFileSync(`/proc/${pid}/task/${tid}/schedstat`, "latin1").split(" ")[0]));
    } catch (error) {
      // It has ended since it was listed.
      if (!(error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ESRCH")))
        throw error;
    }
  return times;
}

/** What a VM with one of every device costs whose guest is halted. */
export async function idleFigures(): Promise<Figure[]> {
  const folder = await scratchDir("bench-idle");
  const path = (name: string): string => join(folder, name);
  try {
    for (const name of ["disk", "pmem"]) {
      await Bun.write(path(name), "");
      await truncate(path(name), 16 << 20);
    }
    const network = hasNetworkNamespaces();
    const args = await vmmArguments("powerbutton", {
      memory: "size=512M,shared=on",
      console: `file=${path("console")}`,
      extra: [
        ...["--api-socket", `path=${path("api")}`, "--disk", `path=${path("disk")},image_type=raw`],
        ...["--rng", "src=/dev/urandom", "--vsock", `cid=3,socket=${path("vsock")}`, "--pmem", `file=${path("pmem")}`],
        ...["--balloon", "size=0", "--watchdog", "--pvpanic", "--rtc", ...(network ? ["--net", "tap="] : [])],
      ],
    });
    const command = [vmmPath(), ...args];
    const machine = new PayloadProcess(network ? inNetworkNamespace("true", command) : command, 60_000);
    await machine.nextLine((line) => line.startsWith("READY"));
    await Bun.sleep(SETTLE_MS);
    const before = cpuTimes(machine.pid);
    const start = performance.now();
    await Bun.sleep(MEASURE_MS);
    const ns = [...cpuTimes(machine.pid)].reduce((sum, [tid, time]) => sum + time - (before.get(tid) ?? 0), 0);
    const percent = (ns / 1e6 / (performance.now() - start)) * 100;
    machine.signal("SIGTERM");
    await machine.outcome();
    return [
      {
        what: `idle guest with every device${network ? "" : " but a network"}, all threads, ${SETTLE_MS / 1000} s after its boot`,
        unit: "% of a core",
        ours: percent,
        others: {},
        goal: { text: `under ${GOAL_PERCENT} %`, reached: percent < GOAL_PERCENT },
      },
    ];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
