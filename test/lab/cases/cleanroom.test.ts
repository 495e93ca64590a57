import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { truncate } from "node:fs/promises";
import { eventually } from "../../payload/eventually.ts";
import { cleanRoomClient } from "../cleanroom/client.ts";
import { Guest } from "../guest.ts";
import { canMakeNetworks, TestNetwork } from "../network.ts";
import {
  cloudHypervisor,
  cloudHypervisorBinary,
  type GuestSpec,
  kernelCmdline,
  UNDER_LANDLOCK,
  type VmmDriver,
} from "../vmm.ts";
import { assetsOf, CASE_TIMEOUT_MS, toolsRoot, until, Workspace } from "./support.ts";

const MIB = 1 << 20;
const PATIENCE_MS = 60_000;
const MAC = "02:00:00:00:12:02";

/** An Ethernet frame with an echo request as ping sends it: headers of 14, 20 and 8 bytes, and 56 of its own. */
const PING_FRAME_BYTES = 98;

type Counters = Readonly<Record<string, Readonly<Record<string, number>>>>;

/** What the published document calls VmCounters. */
const countersOf = (answer: unknown): Counters => answer as Counters;

/** A monitor without a VM, whose terminal the VM will have. */
function idleVmm(socket: string, events: string, remember: (spec: GuestSpec) => void): VmmDriver {
  return {
    ...cloudHypervisor,
    name: "idle",
    command: (spec, runDir) => {
      remember(spec);
      const api = ["--api-socket", `path=${socket}`, "--event-monitor", `path=${events}`, "--no-shutdown"];
      const log = cloudHypervisor.logFile(runDir);
      return [
        ...(spec.launcher ?? []),
        cloudHypervisorBinary,
        ...api,
        ...(log === undefined ? [] : ["-v", "--log-file", log]),
      ];
    },
  };
}

test.skipIf(!canMakeNetworks())(
  "a client made from the published document drives a whole life of a stock guest",
  async () => {
    const assets = await assetsOf("6.12");
    await using workspace = await Workspace.make();
    await using network = await TestNetwork.make();
    await network.addTap("clean0", { address: "10.12.0.1/24" });
    const [socket, events, disk] = [workspace.path("api.sock"), workspace.path("events"), workspace.path("disk.raw")];
    await Bun.write(disk, "");
    await truncate(disk, 16 * MIB);
    const plan: GuestSpec = {
      assets,
      kernelFormat: "vmlinux",
      vcpus: 2,
      memoryMiB: 512,
      console: "hvc0",
      ...toolsRoot(assets),
      launcher: network.enter,
    };
    let spec = plan;
    const driver = idleVmm(socket, events, (given) => {
      spec = given;
    });
    await using guest = await Guest.start(driver, plan);
    await eventually("the API", PATIENCE_MS, () => (existsSync(events) && existsSync(socket) ? true : undefined));
    using client = await cleanRoomClient(workspace.dir, socket);
    const { call } = client;
    const happened = (event: string, times: number): Promise<true> =>
      eventually(`${times} times ${event}`, PATIENCE_MS, () =>
        readFileSync(events, "utf8").split(`"${event}"`).length > times ? true : undefined,
      );

    expect(await call("getVmmPing")).toMatchObject({ version: expect.any(String), pid: expect.any(Number) });
    await call("createVm", {
      payload: { kernel: assets.kernel.vmlinux, initramfs: assets.initramfs, cmdline: kernelCmdline(spec) },
      cpus: { boot_vcpus: 2, max_vcpus: 2 },
      memory: { size: 512 * MIB },
      disks: spec.disks.map(({ path }) => ({ path, readonly: true, image_type: "Raw" })),
      console: { mode: "Tty" },
      serial: { mode: "Null" },
      landlock_enable: UNDER_LANDLOCK,
      landlock_rules: [workspace.dir, "/dev/net/tun"].map((path) => ({ path, access: "rw" })),
    });
    expect(await call("getVmInfo")).toMatchObject({ state: "Created" });
    await call("bootVm");
    await guest.ready();
    expect(await call("getVmInfo")).toMatchObject({ state: "Running", memory_actual_size: 512 * MIB });

    await call("pauseVm");
    expect(await call("getVmInfo")).toMatchObject({ state: "Paused" });
    await call("resumeVm");
    await guest.run("modprobe -a virtio_net button evdev");

    const added = { path: disk, image_type: "Raw", serial: "added" };
    expect(await call("putVmAddDisk", { ...added, id: "more" })).toMatchObject({ id: "more" });
    await guest.run(until("[ -b /dev/vdb ]"));
    expect(await guest.run("cat /sys/block/vdb/serial; echo; cat /sys/block/vdb/size")).toBe(
      `added\n${(16 * MIB) / 512}`,
    );
    await guest.run("echo written | dd of=/dev/vdb conv=fsync 2>/dev/null");
    expect(await Bun.file(disk).slice(0, 7).text()).toBe("written");
    await call("putVmResizeDisk", { id: "more", desired_size: 32 * MIB });
    await guest.run(until(`[ "$(cat /sys/block/vdb/size)" = ${(32 * MIB) / 512} ]`));

    expect(await call("putVmAddNet", { tap: "clean0", mac: MAC, id: "wire" })).toMatchObject({
      bdf: expect.stringMatching(/^0000:00:/),
    });
    const interfaces = `grep -l ${MAC} /sys/class/net/*/address | cut -d/ -f5`;
    await guest.run(until(`[ -n "$(${interfaces})" ]`));
    await guest.run(`d=$(${interfaces}); ip link set $d up; ip address add 10.12.0.2/24 dev $d`);
    await guest.run("ping -c 3 -W 10 10.12.0.1");
    const { wire, more } = countersOf(await call("getVmCounters"));
    // Three echo requests out and their answers in, beside what finds the way; what dd wrote and what told of the disk.
    for (const name of ["tx_frames", "rx_frames"]) expect(wire?.[name]).toBeGreaterThanOrEqual(3);
    for (const name of ["tx_bytes", "rx_bytes"]) expect(wire?.[name]).toBeGreaterThanOrEqual(3 * PING_FRAME_BYTES);
    expect(more?.["write_bytes"]).toBeGreaterThanOrEqual(512);
    for (const name of ["write_ops", "read_ops", "read_bytes"]) expect(more?.[name]).toBeGreaterThan(0);

    await call("putVmRemoveDevice", { id: "wire" });
    await happened("device-removed", 1);
    await call("putVmRemoveDevice", { id: "more" });
    await happened("device-removed", 2);
    expect(await guest.run(`ls /dev/vdb 2>/dev/null; ${interfaces}; true`)).toBe("");

    await call("powerButtonVm");
    await happened("shutdown", 1);
    await call("bootVm");
    await guest.ready();
    await call("shutdownVm");
    expect(await call("getVmInfo")).toMatchObject({ state: "Created" });
    await call("deleteVm");
    const refusal = await call("getVmInfo").then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(refusal).toMatchObject({ status: 404 });
    await call("shutdownVmm");
    expect(await guest.exited()).toBe(0);
  },
  CASE_TIMEOUT_MS,
);
