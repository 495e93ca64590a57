import { existsSync, readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Subprocess } from "bun";
import { ApiConnectionError } from "../../src/api/client/api-client.ts";
import { cacheRoot, scratchDir } from "../setup/cache.ts";
import { Api } from "./api.ts";
import { buildPayload } from "./build.ts";
import { eventually } from "./eventually.ts";
import { monitorThreads } from "./threads.ts";
import { UNDER_LANDLOCK, vmmPath } from "./vmm.ts";

const START_MS = 5_000;
const GUEST_MS = 30_000;

const socketIn = (folder: string): string => join(folder, "api.sock");

/** A monitor that is idle but for its API. */
export class ApiVmm extends Api implements AsyncDisposable {
  readonly folder: string;
  readonly process: Subprocess<"ignore", "ignore", "pipe">;

  private constructor(folder: string, process: Subprocess<"ignore", "ignore", "pipe">) {
    super(socketIn(folder));
    this.folder = folder;
    this.process = process;
  }

  static async start(...extra: readonly string[]): Promise<ApiVmm> {
    const folder = await scratchDir("api");
    const command = [
      vmmPath(),
      "--api-socket",
      `path=${socketIn(folder)}`,
      "--event-monitor",
      `path=${join(folder, "events")}`,
    ];
    const process = Bun.spawn([...command, ...extra], { stdio: ["ignore", "ignore", "pipe"] });
    return eventually("connection to the API", START_MS, () => {
      try {
        return new ApiVmm(folder, process);
      } catch (error) {
        if (error instanceof ApiConnectionError) return undefined;
        throw error;
      }
    });
  }

  /** A VM that runs a payload, its serial port in a file. */
  async config(payload: string, cmdline = "", more: Readonly<Record<string, unknown>> = {}) {
    return {
      payload: { kernel: await buildPayload(payload), cmdline },
      memory: { size: 128 << 20 },
      serial: { mode: "File", file: join(this.folder, "serial") },
      console: { mode: "Off" },
      ...(UNDER_LANDLOCK && { landlock_enable: true, landlock_rules: this.#landlockRules }),
      ...more,
    };
  }

  /** Tests plug in what they have made themselves, and make other VMs in the same process. */
  get #landlockRules() {
    return [
      { path: dirname(this.folder), access: "rw" },
      { path: cacheRoot(), access: "r" },
      ...["/dev/pts", "/dev/ptmx"].map((path) => ({ path, access: "rw" })),
    ];
  }

  /** Waits until the guest has printed a line, as often as is said. @returns all that it has printed since the last boot */
  guestLine(line: string, times = 1): Promise<string> {
    return eventually(`'${line}' from the guest`, GUEST_MS, () => {
      const file = join(this.folder, "serial");
      const text = existsSync(file) ? readFileSync(file, "latin1") : "";
      return countOf(text.split(/\r?\n/), line) >= times ? text : undefined;
    });
  }

  /** Waits until an event has been reported, as often as is said. */
  async event(event: string, times = 1): Promise<void> {
    await eventually(`event ${event}`, GUEST_MS, () => countOf(this.events, event) >= times || undefined);
  }

  /** As `source:event`. */
  get events(): readonly string[] {
    return this.eventObjects.map(({ source, event }) => `${source}:${event}`);
  }

  get eventObjects() {
    const texts = readFileSync(join(this.folder, "events"), "utf8").split("\n\n").slice(0, -1);
    return texts.map((text) => JSON.parse(text));
  }

  /**
   * What the monitor holds of the host: descriptors, threads, files, and memory in KiB: mapped, and written to by it alone.
   * Address space that the C library reserves for a thread's heap cannot be accessed and does not count.
   */
  get resources() {
    const proc = `/proc/${this.process.pid}`;
    return {
      fds: readdirSync(`${proc}/fd`).length,
      threads: monitorThreads(this.process.pid).length,
      mappedKib: accessibleBytes(readFileSync(`${proc}/maps`, "utf8")) / 1024,
      privateKib: Number(/^Anonymous:\s+(\d+)/m.exec(readFileSync(`${proc}/smaps_rollup`, "utf8"))?.[1]),
      files: readdirSync(this.folder).length,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    this.process.kill("SIGKILL");
    await this.process.exited;
    await rm(this.folder, { recursive: true, force: true });
  }
}

function accessibleBytes(maps: string): number {
  const ranges = maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) (?!---)/gm);
  return ranges.reduce((sum, [, from = "", to = ""]) => sum + Number.parseInt(to, 16) - Number.parseInt(from, 16), 0);
}

const countOf = (lines: readonly string[], wanted: string): number => lines.filter((line) => line === wanted).length;
