import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { truncate } from "node:fs/promises";
import { dirname, join } from "node:path";
import { eventually } from "../../payload/eventually.ts";
import { echo, VsockHost } from "../../payload/vsock-host.ts";
import { runText } from "../../setup/exec.ts";
import { Guest } from "../guest.ts";
import { TestNetwork } from "../network.ts";
import { cloudHypervisorBinary } from "../vmm.ts";
import { assetsOf, CASE_TIMEOUT_MS, toolsRoot, unexpectedWarnings, until, vmm, Workspace } from "./support.ts";

const MIB = 1 << 20;
const EVENT_MS = 60_000;
const READY_MS = 60_000;
const chRemote = join(dirname(cloudHypervisorBinary), "ch-remote");

/** Linux says so of all virtio-pmem devices (see pmem.test.ts). */
const OF_ANY_VMM = /nd_pmem .*unable to guarantee persistence of writes/;

async function file(workspace: Workspace, name: string, bytes: number): Promise<string> {
  const path = workspace.path(name);
  await Bun.write(path, "");
  await truncate(path, bytes);
  return path;
}

test(
  "disks, a network device, persistent memory and a socket device come, work and go, and the disk once more",
  async () => {
    const assets = await assetsOf("6.12");
    await using workspace = await Workspace.make();
    await using network = await TestNetwork.make();
    await using host = await VsockHost.make();
    await network.addTap("hot0", { address: "10.11.0.1/24" });
    const [socket, events] = [workspace.path("api.sock"), workspace.path("events")];
    const [path, memory] = [await file(workspace, "hot.raw", 16 * MIB), await file(workspace, "hot.pmem", 128 * MIB)];
    await using guest = await Guest.start(vmm, {
      assets,
      kernelFormat: "vmlinux",
      vcpus: 2,
      memoryMiB: 512,
      console: "hvc0",
      ...toolsRoot(assets),
      launcher: network.enter,
      options: ["--api-socket", `path=${socket}`, "--event-monitor", `path=${events}`],
      plugged: [workspace.dir, "/dev/net/tun", dirname(host.path)],
    });
    await guest.ready();
    await guest.run("modprobe -a virtio_net nd_pmem virtio_pmem vmw_vsock_virtio_transport");

    const remote = (...words: string[]): Promise<string> => runText([chRemote, "--api-socket", socket, ...words]);
    const add = async (...words: string[]): Promise<{ id: string; bdf: string }> => JSON.parse(await remote(...words));
    let gone = 0;
    const remove = async (id: string): Promise<void> => {
      await remote("remove-device", id);
      gone++;
      await eventually(`${id} is removed`, EVENT_MS, () =>
        readFileSync(events, "utf8").split('"device-removed"').length > gone ? true : undefined,
      );
    };

    const addDisk = async (serial: string): Promise<string> => {
      const { id } = await add("add-disk", `path=${path},image_type=raw,serial=${serial}`);
      await guest.run(until("[ -b /dev/vdb ]"));
      expect(await guest.run("cat /sys/block/vdb/serial")).toBe(serial);
      return id;
    };

    const disk = await addDisk("first");
    await guest.run("mke2fs -q -I 256 /dev/vdb && mount -t ext4 /dev/vdb /mnt && echo kept >/mnt/file && umount /mnt");

    const net = await add("add-net", "tap=hot0,mac=02:00:00:00:11:02");
    expect(net.bdf).toMatch(/^0000:00:0\d\.0$/);
    const interfaces = "grep -l 02:00:00:00:11:02 /sys/class/net/*/address | cut -d/ -f5";
    await guest.run(until(`[ -n "$(${interfaces})" ]`));
    await guest.run(`d=$(${interfaces}); ip link set $d up; ip address add 10.11.0.2/24 dev $d`);
    await guest.run("ping -c 3 -W 10 10.11.0.1");

    const pmem = await add("add-pmem", `file=${memory}`);
    await guest.run(until("[ -b /dev/pmem0 ]"));
    await guest.run("echo persistent | dd of=/dev/pmem0 conv=fsync 2>/dev/null");
    expect(await Bun.file(memory).slice(0, 10).text()).toBe("persistent");

    const vsock = await add("add-vsock", `cid=3,socket=${host.path}`);
    await guest.run(until("[ -e /sys/bus/virtio/drivers/vmw_vsock_virtio_transport/virtio* ]"));
    await guest.run("socat VSOCK-LISTEN:53 PIPE >/run/echo 2>&1 &");
    expect(String(await echo(await host.connectWhenReady(53, READY_MS), Buffer.from("hot")))).toBe("hot");

    for (const id of [vsock.id, pmem.id, net.id, disk]) await remove(id);
    expect(await guest.run("ls /dev/vdb /dev/pmem0 2>/dev/null; true")).toBe("");
    expect(await guest.run(`${interfaces}; true`)).toBe("");
    const { config, device_tree: tree } = JSON.parse(await remote("info"));
    expect([config.disks.length, config.net, config.pmem, config.vsock ?? null]).toEqual([1, [], [], null]);
    expect(Object.keys(tree).filter((name) => /_(disk|net|pmem|vsock)[1-9]/.test(name))).toEqual([]);

    const again = await addDisk("second");
    expect(await guest.run("mount -t ext4 /dev/vdb /mnt && cat /mnt/file && umount /mnt")).toBe("kept");
    await remove(again);
    const warnings = await unexpectedWarnings(guest);
    expect(warnings.filter((line) => !OF_ANY_VMM.test(line))).toEqual([]);
    expect(await guest.powerOff("poweroff -f")).toBe(0);
  },
  CASE_TIMEOUT_MS,
);
