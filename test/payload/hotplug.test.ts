import { afterEach, describe, expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tryLockFile } from "../../src/host/file-lock.ts";
import { ApiVmm } from "./api-vmm.ts";
import { threadNames } from "./threads.ts";

afterEach(() => Bun.gc(true));

function diskFile(vmm: ApiVmm, name: string): string {
  const path = join(vmm.folder, name);
  writeFileSync(path, "");
  truncateSync(path, 16 << 20);
  return path;
}

const disk = (path: string, more: Readonly<Record<string, unknown>> = {}) => ({ path, image_type: "Raw", ...more });

/** A VM whose guest waits for disks. */
async function waitingGuest(cmdline = "", more: Readonly<Record<string, unknown>> = {}): Promise<ApiVmm> {
  const vmm = await ApiVmm.start("--no-shutdown");
  vmm.put("vm.create", await vmm.config("hotplug", cmdline, more));
  vmm.put("vm.boot");
  await vmm.guestLine("READY");
  return vmm;
}

/** Whether somebody has an image for writing. */
function isLocked(path: string): boolean {
  const fd = openSync(path, "r");
  try {
    return !tryLockFile(fd, "shared", 0);
  } finally {
    closeSync(fd);
  }
}

const removed = (vmm: ApiVmm) => vmm.events.filter((event) => event === "vm:device-removed").length;

describe("a disk that is plugged in", () => {
  test("works, is in the configuration and the tree, and goes when the guest gives it up", async () => {
    await using vmm = await waitingGuest();
    const path = diskFile(vmm, "a.raw");
    expect(vmm.json("PUT", "vm.add-disk", disk(path))).toEqual({ id: "_disk0", bdf: "0000:00:02.0" });
    await vmm.guestLine("SLOT 2");
    const { config, device_tree: tree } = vmm.info;
    expect(config.disks).toMatchObject([{ id: "_disk0", path, pci_device_id: 2 }]);
    expect(tree._disk0).toMatchObject({ parent: "_virtio-pci-_disk0" });
    const [bar] = tree["_virtio-pci-_disk0"].resources;
    expect(bar.PciBar).toMatchObject({ index: 0, size: 0x8_0000, type_: "Mmio64" });
    expect(readFileSync(path)[8 * 512 + 1]).toBe(9);
    expect(vmm.ask("PUT", "vm.add-disk", disk(diskFile(vmm, "b.raw"), { id: "_disk0" })).status).toBe(409);

    vmm.put("vm.remove-device", { id: "_disk0" });
    expect(vmm.info.config.disks).toEqual([]);
    await vmm.guestLine("GONE 2");
    await vmm.event("vm:device-removed");
    expect(vmm.info.device_tree._disk0).toBeUndefined();
    expect(vmm.ask("PUT", "vm.remove-device", { id: "_disk0" }).status).toBe(404);
    rmSync(join(vmm.folder, "b.raw"));
    expect(vmm.eventObjects.find(({ event }) => event === "device-removed")?.properties).toEqual({
      id: "_disk0",
      bdf: "0000:00:02.0",
    });
  });

  test("stays where the guest does not give it up, and may be asked for again; its id is free only then", async () => {
    await using vmm = await waitingGuest("eject=0");
    const path = diskFile(vmm, "a.raw");
    vmm.put("vm.add-disk", disk(path, { id: "mine" }));
    await vmm.guestLine("SLOT 2");
    vmm.put("vm.remove-device", { id: "mine" });
    await vmm.guestLine("ASKED 2");
    vmm.put("vm.remove-device", { id: "_virtio-pci-mine" });
    await vmm.guestLine("ASKED 2", 2);
    expect(vmm.info.device_tree.mine).toBeDefined();
    const other = disk(diskFile(vmm, "b.raw"), { id: "mine" });
    const { status, body } = vmm.ask("PUT", "vm.add-disk", other);
    expect(status).toBe(500);
    expect(body).toContain("has not given up yet");
    expect(removed(vmm)).toBe(0);
    vmm.put("vm.reboot");
    await vmm.guestLine("READY");
    expect(vmm.info.device_tree.mine).toBeUndefined();
    vmm.put("vm.add-disk", other);
  });

  test("is where it was after a reboot, and unlocked when it is gone", async () => {
    await using vmm = await waitingGuest();
    const [first, second] = [diskFile(vmm, "a.raw"), diskFile(vmm, "b.raw")];
    vmm.put("vm.add-disk", disk(first));
    vmm.put("vm.add-disk", disk(second));
    vmm.put("vm.remove-device", { id: "_disk0" });
    await vmm.event("vm:device-removed");
    expect(isLocked(first)).toBe(false);
    expect(isLocked(second)).toBe(true);
    vmm.put("vm.reboot");
    await vmm.guestLine("READY");
    expect(vmm.info.device_tree["_virtio-pci-_disk1"].pci_bdf).toBe("0000:00:03.0");
    vmm.put("vm.power-button");
    await vmm.guestLine("PASS");
  });

  test("goes with a paused VM on, and comes to a paused one", async () => {
    await using vmm = await waitingGuest();
    vmm.put("vm.pause");
    vmm.put("vm.add-disk", disk(diskFile(vmm, "a.raw")));
    vmm.put("vm.add-disk", disk(diskFile(vmm, "b.raw")));
    vmm.put("vm.resume");
    await vmm.guestLine("SLOT 3");
    vmm.put("vm.pause");
    vmm.put("vm.remove-device", { id: "_disk0" });
    vmm.put("vm.remove-device", { id: "_disk1" });
    vmm.put("vm.resume");
    await vmm.event("vm:device-removed", 2);
    vmm.put("vm.power-button");
    expect(await vmm.guestLine("PASS")).toContain("RESULT works=2 gone=2");
  });

  test("that nobody asked the guest for may go too: the configuration keeps it", async () => {
    await using vmm = await waitingGuest("unasked=1");
    vmm.put("vm.add-disk", disk(diskFile(vmm, "a.raw")));
    await vmm.event("vm:device-removed");
    expect(vmm.info.device_tree._disk0).toBeUndefined();
    expect(vmm.info.config.disks).toMatchObject([{ id: "_disk0" }]);
  });
});

test("what cannot be plugged in leaves everything as it was, and the reason is told", async () => {
  await using vmm = await waitingGuest();
  const path = diskFile(vmm, "a.raw");
  const { info } = vmm;
  const refusal = (body: unknown) => {
    const { status, body: text } = vmm.ask("PUT", "vm.add-disk", body);
    expect(status).toBe(500);
    return text;
  };
  expect(refusal(disk("/nonexistent.raw"))).toContain("/nonexistent.raw");
  expect(refusal(disk(path, { pci_device_id: 1 }))).toContain("PCI slot 1");
  expect(refusal(disk(path, { queue_affinity: [{ queue_index: 0, host_cpus: [4000] }] }))).toContain("host CPUs 4000");
  expect(vmm.ask("PUT", "vm.remove-device", { id: "__rng" }).body).toContain("'__rng' cannot be removed");
  expect(vmm.ask("PUT", "vm.remove-device", { id: "nobody" }).status).toBe(404);
  expect(vmm.info).toEqual(info);
  // A pause waits for all threads, the last of which may still have been on its way.
  vmm.put("vm.pause");
  vmm.put("vm.resume");
  const held = vmm.resources;
  refusal(disk(path, { pci_device_id: 1 }));
  refusal(disk(path, { queue_affinity: [{ queue_index: 0, host_cpus: [4000] }] }));
  expect(vmm.resources).toMatchObject({ fds: held.fds, threads: held.threads });
  vmm.put("vm.add-disk", disk(path));
  await vmm.guestLine("SLOT 2");
});

test("all slots but the last can be filled, and the next disk is refused", async () => {
  await using vmm = await waitingGuest();
  const path = diskFile(vmm, "a.raw");
  for (let slot = 2; slot < 32; slot++)
    expect(vmm.json("PUT", "vm.add-disk", disk(path, { readonly: true }))).toMatchObject({
      bdf: `0000:00:${slot.toString(16).padStart(2, "0")}.0`,
    });
  const { status, body } = vmm.ask("PUT", "vm.add-disk", disk(path, { readonly: true }));
  expect(status).toBe(500);
  expect(body).toContain("all 32 PCI slots are taken");
});

const ROUNDS = Number(process.env["HOTPLUG_ROUNDS"] ?? 30);
const WARM_ROUNDS = 10;

test(`${ROUNDS} disks that come and go leave nothing behind`, async () => {
  await using vmm = await waitingGuest("", { cpus: { boot_vcpus: 2, max_vcpus: 2 } });
  const path = diskFile(vmm, "a.raw");
  let warm: ApiVmm["resources"] | undefined;
  for (let round = 0; round < ROUNDS; round++) {
    const { id, bdf } = vmm.json("PUT", "vm.add-disk", disk(path, { num_queues: 2 }));
    expect(bdf).toBe("0000:00:02.0");
    await vmm.guestLine("SLOT 2", round + 1);
    vmm.put("vm.remove-device", { id });
    await vmm.event("vm:device-removed", round + 1);
    if (round === WARM_ROUNDS) warm = vmm.resources;
  }
  if (warm === undefined) throw new Error("too few rounds");
  const { mappedKib, privateKib: _, ...counts } = vmm.resources;
  expect(warm).toMatchObject(counts);
  expect(mappedKib - warm.mappedKib).toBeLessThan(4 << 10);
});

test("devices that were there at boot leave the thread that they share, and the others go on", async () => {
  await using vmm = await ApiVmm.start("--no-shutdown");
  const socket = join(vmm.folder, "vsock");
  const vsock = { cid: 3, socket, id: "talk" };
  const pmem = [{ file: diskFile(vmm, "pmem"), id: "keep" }];
  vmm.put("vm.create", await vmm.config("hotplug", "", { vsock, pmem }));
  vmm.put("vm.boot");
  await vmm.guestLine("READY");
  const threads = (): string[] => threadNames(vmm.process.pid);
  expect(threads().filter((name) => /^(talk|keep)$/.test(name))).toEqual([]);
  vmm.put("vm.remove-device", { id: "talk" });
  vmm.put("vm.pause");
  vmm.put("vm.resume");
  await vmm.event("vm:device-removed");
  expect(existsSync(socket)).toBe(false);
  vmm.put("vm.remove-device", { id: "keep" });
  await vmm.event("vm:device-removed", 2);
  expect(Object.keys(vmm.info.device_tree)).not.toContain("keep");
  // What comes later has a thread of its own, in the place and under the name of what has gone.
  vmm.json("PUT", "vm.add-vsock", vsock);
  vmm.json("PUT", "vm.add-pmem", pmem[0]);
  expect(threads()).toContain("talk");
  expect(threads()).toContain("keep");
  vmm.put("vm.reboot");
  await vmm.guestLine("READY");
  vmm.put("vm.power-button");
  await vmm.guestLine("PASS");
});

test.each([1, 2])("four vCPUs eject and abuse what the host plugs in, seed %d", async (seed) => {
  const seconds = 3;
  await using vmm = await ApiVmm.start("--no-shutdown");
  const cpus = { boot_vcpus: 4, max_vcpus: 4 };
  const cmdline = `cpus=4 seed=${seed} seconds=${seconds}`;
  vmm.put("vm.create", await vmm.config("hostile_hotplug", cmdline, { cpus }));
  const path = diskFile(vmm, "a.raw");
  vmm.put("vm.boot");
  await vmm.guestLine("READY");
  let plugged = 0;
  for (let round = 0; vmm.info.state !== "Created"; round++) {
    const { status, body } = vmm.ask("PUT", "vm.add-disk", disk(path, { readonly: true, num_queues: 1 + (round % 2) }));
    if (status === 200) {
      plugged++;
      if (round % 3 === 0) vmm.ask("PUT", "vm.remove-device", { id: JSON.parse(body).id });
    }
    if (round % 5 === 0 && vmm.ask("PUT", "vm.pause").status === 204) vmm.ask("PUT", "vm.resume");
    // The guest is to have a device for a moment.
    await Bun.sleep(2);
  }
  const text = await vmm.guestLine("PASS");
  expect(text).toContain("RESULT cpus=4");
  expect(plugged).toBeGreaterThan(0);
  expect(vmm.events.filter((event) => event === "vm:device-removed").length).toBeGreaterThan(0);
  vmm.put("vm.delete");
  vmm.put("vm.create", await vmm.config("hello"));
  vmm.put("vm.boot");
  await vmm.guestLine("PASS");
});
