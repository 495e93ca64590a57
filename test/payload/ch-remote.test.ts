import { beforeAll, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { COMMANDS } from "../../src/cli/ch-remote/commands.ts";
import { scratchDir } from "../setup/cache.ts";
import { ensurePackages } from "../setup/packages.ts";
import { ApiVmm } from "./api-vmm.ts";
import { buildPayload } from "./build.ts";
import { CH_REMOTE, vmmPath } from "./vmm.ts";

const GUEST_MS = 30_000;

/** Subcommands of features that do not exist yet, each with arguments that are fine. */
const REFUSED: Readonly<Record<string, readonly string[]>> = {
  "add-device": ["path=/nonexistent"],
  "add-fs": ["tag=t,socket=/nonexistent"],
  "add-generic-vhost-user": ["socket=/nonexistent,virtio_id=26,queue_sizes=[128]"],
  "add-user-device": ["socket=/nonexistent"],
  "add-vdpa": ["path=/nonexistent"],
  "receive-migration": ["receiver_url=unix:/nonexistent"],
  "resize-zone": ["--id", "zone", "--size", "1G"],
  restore: ["source_url=file:///nonexistent"],
  "send-migration": ["destination_url=unix:/nonexistent"],
  snapshot: ["file:///nonexistent"],
};

/** Subcommands that have done to a monitor what they are for. */
const done = new Set<string>();

beforeAll(() => ensurePackages(["passt"]), 120_000);

/** Runs `ch-remote` as a user does. */
async function remote(socket: string, argv: readonly string[], stdin = "") {
  const child = Bun.spawn([CH_REMOTE, "--api-socket", socket, ...argv], {
    stdio: [Buffer.from(stdin), "pipe", "pipe"],
  });
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  if (code === 0) done.add(argv[0] ?? "");
  return { code, stdout, stderr };
}

test("every subcommand whose feature there is, against a monitor with a guest", async () => {
  const folder = await scratchDir("ch-remote");
  const path = (name: string) => join(folder, name);
  const socket = path("api.sock");
  const monitor = Bun.spawn([vmmPath(), "--no-shutdown", "--api-socket", socket], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  try {
    while (!existsSync(socket)) await Bun.sleep(1);
    const ok = async (...argv: readonly string[]) => {
      const { code, stdout, stderr } = await remote(socket, argv);
      expect({ argv, code, stderr }).toEqual({ argv, code: 0, stderr: "" });
      return stdout;
    };
    const refused = async (...argv: readonly string[]) => {
      const { code, stdout, stderr } = await remote(socket, argv);
      expect({ argv, code, stdout }).toEqual({ argv, code: 1, stdout: "" });
      return stderr;
    };
    const guestSays = async (wanted: string | RegExp) => {
      const is = (line: string) => (typeof wanted === "string" ? line === wanted : wanted.test(line));
      const deadline = performance.now() + GUEST_MS;
      const said = () => (existsSync(path("serial")) ? readFileSync(path("serial"), "latin1").split(/\r?\n/) : []);
      for (let lines = said(); !lines.some(is); lines = said()) {
        if (performance.now() > deadline) throw new Error(`the guest did not say ${wanted}`);
        await Bun.sleep(2);
      }
    };
    const info = async () => JSON.parse(await ok("info"));

    expect(JSON.parse(await ok("ping"))).toMatchObject({ pid: monitor.pid });
    expect(await refused("boot")).toContain("404 Not Found");
    const document = {
      payload: { kernel: await buildPayload("powerbutton"), cmdline: "presses=3" },
      memory: { size: 128 << 20, shared: true },
      serial: { mode: "File", file: path("serial") },
      console: { mode: "Off" },
    };
    expect(await remote(socket, ["create"], JSON.stringify(document))).toEqual({ code: 0, stdout: "", stderr: "" });
    expect(await refused("create", "/dev/null")).toContain("400");
    await Bun.write(path("disk"), new Uint8Array(1 << 20));
    expect(await ok("add-disk", `path=${path("disk")},id=data,image_type=raw`)).toBe("");
    expect(await refused("add-disk", `path=${path("disk")},id=data,image_type=raw`)).toContain("409 (unknown)");
    expect(await refused("remove-device", "nothing")).toContain("there is no device 'nothing'");
    await ok("resize", "--memory", "256M");
    await ok("boot");
    await guestSays("READY 0");
    const running = await info();
    expect(running).toMatchObject({ state: "Running", config: { memory: { size: 256 << 20 } } });
    expect(running.device_tree.data).toMatchObject({ parent: "_virtio-pci-data" });
    const none = '"read_latency_min":18446744073709551615,"read_latency_max":18446744073709551615';
    expect(await ok("counters")).toContain(
      `{"data":{"read_bytes":0,"write_bytes":0,"read_ops":0,"write_ops":0,${none},`,
    );
    await ok("pause");
    expect((await info()).state).toBe("Paused");
    await ok("coredump", `file://${path("core")}`);
    expect(await Bun.file(path("core")).slice(1, 4).text()).toBe("ELF");
    expect(await refused("pause")).toContain("a VM that is Paused cannot become Paused");
    await ok("resume");
    expect(await ok("resize-disk", "--disk", "data", "--size", "2M")).toBe("");
    expect(Bun.file(path("disk")).size).toBe(2 << 20);
    expect(await refused("resize-disk", "--disk", "none", "--size", "2M")).toContain("404 Not Found");
    expect(await refused("resize-disk", "--disk", "data", "--size", "1000")).toContain("multiple of 512");
    expect(await ok("top", "--batch", "--iterations", "1")).toContain("of 1 vCPU");
    for (const [command, argv] of Object.entries(REFUSED))
      expect(await refused(command, ...argv)).toContain("not supported");
    await ok("power-button");
    await guestSays("READY 1");
    await ok("reboot");
    await guestSays("READY 0");
    await ok("shutdown");
    await ok("boot");
    await guestSays("READY 0");
    await ok("nmi");
    // An exception that the payload does not expect: it says so and powers off.
    await guestSays(/^FAIL exception 2 /);
    while ((await info()).state !== "Created") await Bun.sleep(1);
    await ok("remove-device", "data");
    expect((await info()).config.disks).toEqual([]);
    await ok("delete");
    expect(await refused("info")).toContain("there is no VM");
    expect(await ok("shutdown-vmm")).toBe("");
    expect(await monitor.exited).toBe(0);
    expect(await refused("ping")).toContain("cannot connect");
  } finally {
    monitor.kill("SIGKILL");
    await monitor.exited;
    await rm(folder, { recursive: true, force: true });
  }
});

test("what is plugged into a VM that runs is answered with its place, and goes when the guest gives it up", async () => {
  await using vmm = await ApiVmm.start("--no-shutdown");
  const path = (name: string) => join(vmm.folder, name);
  const run = (...argv: readonly string[]) => remote(path("api.sock"), argv);
  vmm.put("vm.create", await vmm.config("hotplug", "", { balloon: { size: 0 } }));
  vmm.put("vm.boot");
  await vmm.guestLine("READY");
  expect(await run("resize", "--balloon", "16M")).toEqual({ code: 0, stdout: "", stderr: "" });
  expect(vmm.info.config.balloon.size).toBe(16 << 20);
  for (const name of ["disk", "pmem"]) await Bun.write(path(name), new Uint8Array(2 << 20));
  const bdfs = new Set<string>();
  for (const [command, config, id] of [
    ["add-net", "user=on,id=wire", "wire"],
    ["add-disk", `path=${path("disk")},id=data,image_type=raw`, "data"],
    ["add-pmem", `file=${path("pmem")},id=memory,discard_writes=on`, "memory"],
    ["add-vsock", `cid=3,socket=${path("vsock")},id=sockets`, "sockets"],
  ] as const) {
    const { code, stdout, stderr } = await run(command, config);
    expect({ command, code, stderr }).toEqual({ command, code: 0, stderr: "" });
    const { id: said, bdf } = JSON.parse(stdout);
    expect(said).toBe(id);
    expect(vmm.info.device_tree[`_virtio-pci-${id}`]).toMatchObject({ children: [id], pci_bdf: bdf });
    bdfs.add(bdf);
  }
  expect(bdfs.size).toBe(4);
  expect(await run("add-vsock", `cid=4,socket=${path("other")}`)).toMatchObject({ code: 1, stdout: "" });
  const slot = Number.parseInt(vmm.info.device_tree["_virtio-pci-data"].pci_bdf.slice(8, 10), 16);
  await vmm.guestLine(`SLOT ${slot}`);
  expect(JSON.parse((await run("counters")).stdout).data.write_ops).toBeGreaterThan(0);
  const netSlot = Number.parseInt(vmm.info.device_tree["_virtio-pci-wire"].pci_bdf.slice(8, 10), 16);
  await vmm.guestLine(`SLOT ${netSlot} holds 10411af4`);
  expect(JSON.parse((await run("counters")).stdout).wire).toMatchObject({ rx_frames: 0, tx_frames: 0 });
  expect(await run("remove-device", "wire")).toEqual({ code: 0, stdout: "", stderr: "" });
  await vmm.guestLine(`GONE ${netSlot}`);
  await vmm.event("vm:device-removed");
  expect(await run("remove-device", "data")).toEqual({ code: 0, stdout: "", stderr: "" });
  await vmm.guestLine(`GONE ${slot}`);
  await vmm.event("vm:device-removed", 2);
  expect(vmm.info.device_tree.data).toBeUndefined();
});

test("no subcommand is without a test, whether its feature is there or not", () => {
  expect([...done, ...Object.keys(REFUSED)].toSorted()).toEqual(Object.keys(COMMANDS).toSorted());
});
