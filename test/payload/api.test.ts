import { afterEach, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import { check, libc } from "../../src/host/libc.ts";
import { mapAnonymous, munmap } from "../../src/host/mmap.ts";
import { Sys } from "../../src/host/syscall-numbers.ts";
import { listenAt } from "../../src/host/unix-socket.ts";
import { scratchDir } from "../setup/cache.ts";
import { threadStatuses } from "../unit/thread-statuses.ts";
import { Api } from "./api.ts";
import { ApiVmm } from "./api-vmm.ts";
import { eventually } from "./eventually.ts";
import { vmmPath } from "./vmm.ts";

const GUEST_MS = 30_000;

afterEach(() => Bun.gc(true));

describe("a life over the API", () => {
  test("create, boot, pause, resume, power button, reboot, shutdown, delete, and the end", async () => {
    await using vmm = await ApiVmm.start();
    expect(JSON.parse(vmm.ask("GET", "vmm.ping").body)).toMatchObject({ pid: vmm.process.pid });
    vmm.put("vm.create", await vmm.config("powerbutton", "presses=2"));
    expect(vmm.info).toMatchObject({ state: "Created", memory_actual_size: 128 << 20 });
    vmm.put("vm.boot");
    await vmm.guestLine("READY 0");
    const { state, device_tree: tree, config } = vmm.info;
    expect(state).toBe("Running");
    expect(config.rng).toEqual({ pci_segment: 0, src: "/dev/urandom" });
    expect(tree["_virtio-pci-__rng"]).toMatchObject({
      children: ["__rng"],
      pci_bdf: expect.stringMatching(/^0000:00:0\d\.0$/),
    });
    expect(tree.__serial).toEqual({ id: "__serial", resources: [], children: [] });
    expect(tree.__rng).toMatchObject({ parent: "_virtio-pci-__rng" });
    vmm.put("vm.pause");
    expect(vmm.info.state).toBe("Paused");
    expect(vmm.ask("PUT", "vm.pause").status).toBe(500);
    vmm.put("vm.resume");
    expect(vmm.ask("PUT", "vm.resume").status).toBe(500);
    vmm.put("vm.power-button");
    await vmm.guestLine("READY 1");
    vmm.put("vm.reboot");
    await vmm.guestLine("READY 0");
    expect(vmm.info.state).toBe("Running");
    vmm.put("vm.shutdown");
    expect(vmm.info).toMatchObject({ state: "Created" });
    expect(vmm.info.device_tree).toBeUndefined();
    vmm.put("vm.boot");
    await vmm.guestLine("READY 0");
    vmm.put("vm.pause");
    vmm.put("vm.delete");
    expect(vmm.ask("GET", "vm.info").status).toBe(404);
    vmm.put("vmm.shutdown");
    expect(await vmm.process.exited).toBe(0);
    expect(existsSync(join(vmm.folder, "api.sock"))).toBe(false);
    const vm =
      "booting booted pausing paused pausing resuming resumed resuming rebooting rebooted shutdown booting booted";
    expect(vmm.events.filter((event) => event.startsWith("vm"))).toEqual([
      "vmm:starting",
      ...[...vm.split(" "), ..."pausing paused shutdown deleted".split(" ")].map((event) => `vm:${event}`),
      "vmm:shutdown",
    ]);
  });

  test("a guest that powers off leaves a created VM where the monitor is to stay", async () => {
    await using vmm = await ApiVmm.start("--no-shutdown");
    vmm.put("vm.create", await vmm.config("hello"));
    for (let round = 0; round < 2; round++) {
      vmm.put("vm.boot");
      await eventually("power-off", GUEST_MS, () => (vmm.info.state === "Created" ? true : undefined));
      expect(await vmm.guestLine("PASS")).toContain("PASS");
    }
  });

  test("what goes wrong is told, and the monitor stays", async () => {
    await using vmm = await ApiVmm.start();
    const config = await vmm.config("hello");
    vmm.put("vm.create", { ...config, payload: { kernel: "/nonexistent" } });
    const { status, body } = vmm.ask("PUT", "vm.boot");
    expect(status).toBe(500);
    expect(JSON.parse(body).join(" ")).toContain("/nonexistent");
    expect(vmm.info.state).toBe("Created");
    vmm.put("vm.delete");
    vmm.put("vm.create", { ...config, cpus: { boot_vcpus: 2, max_vcpus: 1 } });
    expect(vmm.ask("PUT", "vm.boot").status).toBe(400);
    vmm.put("vm.delete");
    // Consoles are opened when the VM is created, which is stored even where one cannot be had.
    const nowhere = vmm.ask("PUT", "vm.create", { ...config, serial: { mode: "File", file: "/nonexistent/serial" } });
    expect(nowhere.status).toBe(500);
    expect(nowhere.body).toContain("/nonexistent/serial");
    expect(vmm.info.state).toBe("Created");
    expect(vmm.ask("PUT", "vm.boot").status).toBe(500);
    vmm.put("vm.delete");
    vmm.put("vm.create", { ...config, serial: { mode: "Pty" } });
    const { file } = vmm.info.config.serial;
    expect(file).toMatch(/^\/dev\/pts\/\d+$/);
    expect(existsSync(file)).toBeTrue();
    vmm.put("vm.delete");
    expect(existsSync(file)).toBeFalse();
    expect(vmm.ask("GET", "vmm.ping").status).toBe(200);
  });

  test("a signal ends it like vmm.shutdown", async () => {
    await using vmm = await ApiVmm.start();
    vmm.put("vm.create", await vmm.config("powerbutton"));
    vmm.put("vm.boot");
    await vmm.guestLine("READY 0");
    vmm.process.kill("SIGTERM");
    expect(await vmm.process.exited).toBe(0);
    expect(vmm.events.slice(-3)).toEqual(["vm:shutdown", "vm:deleted", "vmm:shutdown"]);
  });
});

/** The guest does at least as much while it is paused over and over. */
const WORK_ROUNDS = 20;
const PAUSES = Number(process.env["API_PAUSES"] ?? 100);

test("a socket that the parent process listens at is served", async () => {
  const folder = await scratchDir("api-fd");
  try {
    const path = join(folder, "socket");
    const listener = listenAt(path, 1);
    const monitor = Bun.spawn([vmmPath(), "--api-socket", "fd=3"], { stdio: ["ignore", "ignore", "pipe", listener] });
    libc.close(listener);
    // What comes before the monitor serves waits.
    using api = new Api(path);
    api.put("vmm.shutdown");
    expect({ exitCode: await monitor.exited, stderr: await monitor.stderr.text() }).toEqual({
      exitCode: 0,
      stderr: "",
    });
  } finally {
    await rm(folder, { recursive: true });
  }
});

test(`${PAUSES} pauses of a guest at work lose nothing`, async () => {
  await using vmm = await ApiVmm.start("--no-shutdown");
  vmm.put("vm.create", await vmm.config("exits", "count=2000 rounds=101"));
  vmm.put("vm.boot");
  for (let round = 0; round < PAUSES; round++) {
    vmm.put("vm.pause");
    vmm.put("vm.resume");
  }
  expect(await vmm.guestLine("PASS")).toMatch(/RESULT port=3ff count=2000 rounds=101 /);
});

test(`${PAUSES} pauses of a guest that uses its disk lose nothing`, async () => {
  await using vmm = await ApiVmm.start("--no-shutdown");
  const path = join(vmm.folder, "disk.raw");
  await Bun.write(path, new Uint8Array(64 << 20));
  const disks = [{ path, image_type: "Raw", serial: "payload-disk" }];
  vmm.put("vm.create", await vmm.config("blkcheck", "id=payload-disk wrap=100000", { disks }));
  vmm.put("vm.boot");
  for (let round = 0; round < PAUSES; round++) {
    vmm.put("vm.pause");
    vmm.put("vm.resume");
  }
  expect(await vmm.guestLine("PASS")).not.toContain("FAIL");
});

test(`${PAUSES} pauses of a guest that uses its disk and its console lose nothing`, async () => {
  await using vmm = await ApiVmm.start("--no-shutdown");
  const path = join(vmm.folder, "disk.raw");
  await Bun.write(path, new Uint8Array(4 << 20));
  vmm.put("vm.create", await vmm.config("pausework", "", { disks: [{ path, image_type: "Raw" }] }));
  vmm.put("vm.boot");
  await vmm.guestLine("ROUND 1");
  const worked = () => readFileSync(join(vmm.folder, "serial"), "latin1").includes(`ROUND ${WORK_ROUNDS}\n`);
  for (let round = 0; round < PAUSES || !worked(); round++) {
    vmm.put("vm.pause");
    vmm.put("vm.resume");
  }
  const disk = await open(path, "r+");
  await disk.write(Uint8Array.of(1), 0, 1, 0);
  await disk.close();
  const said = (await vmm.guestLine("PASS")).split(/\r?\n/).filter((line) => line.startsWith("ROUND"));
  expect(said.length).toBeGreaterThan(WORK_ROUNDS);
  expect(said).toEqual(said.map((_, round) => `ROUND ${round}`));
}, 120_000);

test("the threads that answer are content with short slices of time, those of the guest have any thread's", async () => {
  await using vmm = await ApiVmm.start();
  vmm.put("vm.create", await vmm.config("powerbutton"));
  vmm.put("vm.boot");
  const { pid } = vmm.process;
  const slices = new Map<string, bigint>();
  const attributes = mapAnonymous(4096);
  // A thread of devices names itself when it gets its first work, which the guest need not wait for.
  const threads = await eventually("a thread of devices", GUEST_MS, () => {
    const found = threadStatuses(pid);
    return found.some(({ name }) => name === "io") ? found : undefined;
  });
  for (const { tid, name } of threads) {
    // sched_getattr(2): sched_runtime is at byte 24.
    check(libc.syscall(Sys.sched_getattr, tid, attributes.address, 48, 0, 0, 0), "sched_getattr");
    slices.set(tid === pid ? "main" : name, attributes.view.getBigUint64(24, true));
  }
  munmap(attributes.address, attributes.size);
  const others = slices.get("vcpu0") ?? -1n;
  // Kernels before 6.12 know no slices, and say 0 of all.
  const short = others === 0n ? 0n : 100_000n;
  expect(others).not.toBe(100_000n);
  expect(Object.fromEntries(slices)).toMatchObject({ main: short, "http-server": short, vcpu0: others, io: others });
});

const LIVES = Number(process.env["API_LIVES"] ?? 60);
/** Lives after which all that a monitor keeps for the next one is there. */
const WARM_LIVES = 10;
/** The runtime's heap grows in steps of 512 KiB. What a life left mapped would be more than a few of them by the end. */
const HEAP_STEPS_KIB = 2 << 10;
/** Private memory after a life differs by several MiB from one to the next, since garbage is there or just gone: so many make a median. */
const MEDIAN_LIVES = 20;
const PRIVATE_NOISE_KIB = 2 << 10;

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

test(`${LIVES} lives in one process leave nothing behind`, async () => {
  await using vmm = await ApiVmm.start();
  const config = await vmm.config("powerbutton", "", { cpus: { boot_vcpus: 2, max_vcpus: 2 } });
  const afterLife: ApiVmm["resources"][] = [];
  for (let life = 1; life <= LIVES; life++) {
    vmm.put("vm.create", config);
    vmm.put("vm.boot");
    if (life % 10 === 0) await vmm.guestLine("READY 0");
    vmm.put("vm.shutdown");
    vmm.put("vm.delete");
    afterLife.push(vmm.resources);
  }
  const [warm, last] = [afterLife[WARM_LIVES - 1], afterLife.at(-1)];
  if (warm === undefined || last === undefined) throw new Error(`${LIVES} lives are too few`);
  const { mappedKib, privateKib: _, ...counts } = last;
  expect(warm).toMatchObject(counts);
  expect(mappedKib - warm.mappedKib).toBeLessThan(HEAP_STEPS_KIB);
  const privateKib = (lives: typeof afterLife): number => median(lives.map((resources) => resources.privateKib));
  const growth =
    privateKib(afterLife.slice(-MEDIAN_LIVES)) - privateKib(afterLife.slice(WARM_LIVES, WARM_LIVES + MEDIAN_LIVES));
  expect(growth).toBeLessThan(PRIVATE_NOISE_KIB);
}, 120_000);
