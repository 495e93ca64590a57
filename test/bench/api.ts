import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ApiClient, ApiConnectionError } from "../../src/api/client/api-client.ts";
import type { EndpointName } from "../../src/api/rest/endpoints.ts";
import { buildPayload } from "../payload/build.ts";
import { vmmPath } from "../payload/vmm.ts";
import { scratchDir } from "../setup/cache.ts";
import { type Figure, median } from "./figure.ts";
import { firstByteMs } from "./start.ts";

const STARTS = 15;
const PINGS = 5_000;
const BUSY_PINGS = 1_000;
const BOOTS = 20;
const SPAWN_LIMIT_MS = 5_000;
const BUSY_VCPUS = 4;
const BUSY_DISKS = 2;
/** More than the command line may take: what a boot over the API may. */
const BOOT_EXTRA_MS = 20;

interface Monitor extends AsyncDisposable {
  readonly client: ApiClient;
  /** Of its own; removed with it. */
  readonly folder: string;
  /** From spawn to the answer to the first ping. */
  readonly startMs: number;
}

/** Connects as soon as that is possible. The monitor is another process: waiting without pause takes nothing from it. */
function connect(socket: string, deadline: number): ApiClient {
  for (;;) {
    try {
      if (existsSync(socket)) return new ApiClient(socket);
    } catch (error) {
      if (!(error instanceof ApiConnectionError)) throw error;
    }
    if (performance.now() > deadline) throw new Error("the API was not there in time");
    Bun.sleepSync(0.2);
  }
}

async function startMonitor(): Promise<Monitor> {
  const folder = await scratchDir("bench-api");
  const socket = join(folder, "api.sock");
  const started = performance.now();
  const child = Bun.spawn([vmmPath(), "--api-socket", `path=${socket}`], { stdio: ["ignore", "ignore", "ignore"] });
  const client = connect(socket, started + SPAWN_LIMIT_MS);
  client.request({ method: "GET", endpoint: "vmm.ping" });
  return {
    client,
    folder,
    startMs: performance.now() - started,
    [Symbol.asyncDispose]: async () => {
      client.close();
      child.kill("SIGKILL");
      await child.exited;
      await rm(folder, { recursive: true });
    },
  };
}

/** Milliseconds that each of so many requests takes. */
function latencies(client: ApiClient, endpoint: EndpointName, count: number): number[] {
  return Array.from({ length: count }, () => {
    const started = performance.now();
    client.request({ method: "GET", endpoint });
    return performance.now() - started;
  });
}

function put(client: ApiClient, endpoint: EndpointName, body?: unknown): void {
  const request = { method: "PUT", endpoint, ...(body !== undefined && { body: JSON.stringify(body) }) } as const;
  const { status, body: text } = client.request(request);
  if (status >= 300) throw new Error(`${endpoint}: ${status} ${text}`);
}

async function vmConfig(payload: string, cmdline: string, vcpus: number) {
  return {
    payload: { kernel: await buildPayload(payload), cmdline },
    cpus: { boot_vcpus: vcpus, max_vcpus: vcpus },
    memory: { size: 512 << 20 },
    serial: { mode: "Null" },
    console: { mode: "Off" },
  };
}

async function startFigure(): Promise<Figure> {
  const times: number[] = [];
  for (let round = 0; round < STARTS; round++) {
    await using monitor = await startMonitor();
    times.push(monitor.startMs);
  }
  const ours = median(times);
  return {
    what: "process start to the answer to vmm.ping",
    unit: "ms",
    ours,
    others: {},
    goal: { text: "at most 30 ms", reached: ours <= 30 },
  };
}

async function requestFigures(): Promise<Figure[]> {
  await using monitor = await startMonitor();
  const { client } = monitor;
  latencies(client, "vmm.ping", PINGS / 10);
  const started = performance.now();
  const times = latencies(client, "vmm.ping", PINGS);
  const rate = (PINGS / (performance.now() - started)) * 1000;
  const ping = median(times);
  return [
    {
      what: "vmm.ping",
      unit: "ms",
      ours: ping,
      others: {},
      goal: { text: "less than 0.5 ms", reached: ping < 0.5 },
    },
    {
      what: "requests on one connection",
      unit: "a second",
      ours: rate,
      others: {},
      goal: { text: "at least 2000", reached: rate >= 2000 },
    },
  ];
}

/** The first boot of a monitor, which starts all threads, beside a start from the command line up to the first instruction. */
async function bootFigure(): Promise<Figure> {
  const config = await vmConfig("hello", "", 1);
  const command = [
    ...[vmmPath(), "--kernel", config.payload.kernel, "--memory", "size=512M", "--cpus", "boot=1"],
    ...["--serial", "null", "--console", "off"],
  ];
  const times = { api: [] as number[], commandLine: [] as number[] };
  for (let round = 0; round < STARTS; round++) {
    await using monitor = await startMonitor();
    put(monitor.client, "vm.create", config);
    const started = performance.now();
    put(monitor.client, "vm.boot");
    times.api.push(performance.now() - started);
    times.commandLine.push(await firstByteMs(command));
  }
  const [api, commandLine] = [median(times.api), median(times.commandLine)];
  return {
    what: "vm.boot, the first of the process",
    unit: "ms",
    ours: api,
    others: { "command-line start": commandLine },
    goal: { text: `at most ${BOOT_EXTRA_MS} ms more than that`, reached: api <= commandLine + BOOT_EXTRA_MS },
  };
}

/** How late answers are while all vCPUs of the guest wait for its disks without pause. */
async function busyFigures(): Promise<Figure[]> {
  await using monitor = await startMonitor();
  const { client, folder } = monitor;
  const disks = await Promise.all(
    Array.from({ length: BUSY_DISKS }, async (_, index) => {
      const path = join(folder, `disk${index}`);
      await Bun.write(path, new Uint8Array(64 << 20));
      return { path, id: `disk${index}`, image_type: "Raw", num_queues: BUSY_VCPUS / BUSY_DISKS };
    }),
  );
  const work = `op=randread bs=4096 qd=16 seconds=600 warm_ms=0 devs=${BUSY_DISKS} queues=${BUSY_VCPUS / BUSY_DISKS} cpus=${BUSY_VCPUS}`;
  put(client, "vm.create", { ...(await vmConfig("blkbench", work, BUSY_VCPUS)), disks });
  put(client, "vm.boot");
  const idle = () => disks.some(({ id }) => !(counters(client)[id]?.["read_ops"] ?? 0));
  const deadline = performance.now() + SPAWN_LIMIT_MS;
  while (idle()) {
    if (performance.now() > deadline) throw new Error("the guest does not use its disks");
    Bun.sleepSync(1);
  }
  const sorted = latencies(client, "vm.info", BUSY_PINGS).toSorted((a, b) => a - b);
  const late = sorted[Math.floor(sorted.length * 0.99)] ?? Number.NaN;
  const load = `while ${BUSY_VCPUS} vCPUs and ${BUSY_DISKS} disks are busy`;
  return [
    {
      what: `vm.info ${load}, 99 of 100 within`,
      unit: "ms",
      ours: late,
      others: {},
      goal: { text: "less than 10 ms", reached: late < 10 },
    },
    {
      what: `vm.info ${load}, the slowest of ${BUSY_PINGS}`,
      unit: "ms",
      ours: sorted.at(-1) ?? Number.NaN,
      others: {},
    },
  ];
}

function counters(client: ApiClient): Readonly<Record<string, Readonly<Record<string, number>>>> {
  return JSON.parse(client.request({ method: "GET", endpoint: "vm.counters" }).body);
}

async function lifeFigures(): Promise<Figure[]> {
  await using monitor = await startMonitor();
  const { client } = monitor;
  const idle = await vmConfig("powerbutton", "", 1);
  const boots: number[] = [];
  for (let round = 0; round < BOOTS; round++) {
    put(client, "vm.create", idle);
    const started = performance.now();
    put(client, "vm.boot");
    boots.push(performance.now() - started);
    put(client, "vm.delete");
  }
  put(client, "vm.create", await vmConfig("exits", "count=1000000 rounds=101", BUSY_VCPUS));
  put(client, "vm.boot");
  const busy = latencies(client, "vm.info", BUSY_PINGS).toSorted((a, b) => a - b);
  const late = busy[Math.floor(busy.length * 0.99)] ?? Number.NaN;
  return [
    { what: "vm.boot of a payload, threads kept from the last VM", unit: "ms", ours: median(boots), others: {} },
    {
      what: "vm.info while the guest exits without pause, 99 of 100 within",
      unit: "ms",
      ours: late,
      others: {},
      goal: { text: "less than 10 ms", reached: late < 10 },
    },
  ];
}

/** How fast the API is there and answers. */
export async function apiFigures(): Promise<Figure[]> {
  return [
    await startFigure(),
    ...(await requestFigures()),
    await bootFigure(),
    ...(await lifeFigures()),
    ...(await busyFigures()),
  ];
}
