import { describe, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { Guest } from "../guest.ts";
import { canMakeNetworks, TestNetwork } from "../network.ts";
import { cloudHypervisor, type GuestSpec, type NetSpec } from "../vmm.ts";
import { withFdsProgram } from "../with-fds.ts";
import { assetsOf, CASE_TIMEOUT_MS, toolsRoot, unexpectedWarnings, vmm, Workspace } from "./support.ts";

const { CH_LAB_FULL } = process.env;
const TRANSFER_BYTES = CH_LAB_FULL === "1" ? 1024 ** 3 : 16 * 1024 ** 2;
const TRANSFER_TIMEOUT_MS = 900_000;
const NOBODY = 65534;

const MACS = ["52:54:00:00:00:01", "52:54:00:00:00:02"] as const;

/** A guest without disks on a network. */
async function specOn(network: TestNetwork, nets: readonly NetSpec[], launcher: string[] = []): Promise<GuestSpec> {
  return {
    assets: await assetsOf("6.12"),
    kernelFormat: "vmlinux",
    vcpus: 1,
    memoryMiB: 256,
    console: "hvc0",
    disks: [],
    nets,
    launcher: [...network.enter, ...launcher],
  };
}

/** `rx_queue_0_packets: 12` of `ethtool -S` as a map. */
function countersIn(text: string): Map<string, number> {
  return new Map([...text.matchAll(/^\s*(\w+): (\d+)$/gm)].map(([, name = "", value]) => [name, Number(value)]));
}

describe.skipIf(!canMakeNetworks())("network", () => {
  test(
    "DHCP, MTU 9000, four queue pairs in use, offloads, a transfer both ways, the link going down and up",
    async () => {
      // Later kernels tell packets by queue through netlink only.
      const assets = await assetsOf("6.1");
      await using workspace = await Workspace.make();
      await using network = await TestNetwork.make();
      await network.addBridge("br0", { address: "10.1.0.1/24", mtu: 9000 });
      await network.addTap("tap0", { bridge: "br0", multiQueue: true, mtu: 9000 });
      await network.serveDhcp("br0", "10.1.0.10", "10.1.0.20");
      await using guest = await Guest.start(vmm, {
        ...(await specOn(network, [{ host: { tap: "tap0" }, mac: MACS[0], queuePairs: 4, mtu: 9000 }])),
        ...toolsRoot(assets),
        assets,
        vcpus: 4,
        memoryMiB: 512,
      });
      await guest.ready();

      expect(await guest.run("cat /sys/class/net/eth0/address /sys/class/net/eth0/mtu")).toBe(`${MACS[0]}\n9000`);
      expect(await guest.run("udhcpc -i eth0 -q -n -t 20 -T 1")).toMatch(/lease of 10\.1\.0\.1\d obtained/);
      // Larger than a standard frame and unfragmented: an answer of the same length comes back.
      expect(await guest.run("ping -c 3 -s 8900 10.1.0.1")).toContain("3 packets received");
      expect(await network.run("busybox", "ping", "-c", "2", "-s", "8900", await addressOf(guest))).toContain(
        "2 packets received",
      );

      const features = await guest.run("ethtool -k eth0");
      for (const offload of [
        "tx-checksumming",
        "rx-checksumming",
        "tcp-segmentation-offload",
        "tx-tcp6-segmentation",
      ]) {
        expect(features).toMatch(new RegExp(`^\\s*${offload}: on`, "m"));
      }
      await useAllQueues(guest, network);
      await transferBothWays(guest, network, workspace);

      await guest.run("ip link set eth0 down");
      expect((await guest.try("ping -c 1 -W 1 10.1.0.1")).status).not.toBe(0);
      await guest.run("ip link set eth0 up");
      expect(await guest.run("ping -c 1 -W 20 10.1.0.1")).toContain("1 packets received");
      await network.ip("link", "set", "tap0", "down");
      expect((await guest.try("ping -c 1 -W 1 10.1.0.1")).status).not.toBe(0);
      await network.ip("link", "set", "tap0", "up");
      expect(await guest.run("for i in 1 2 3 4 5 6 7 8 9; do ping -c 1 -W 3 10.1.0.1 && break; done")).toContain(
        "1 packets received",
      );
      expect(await unexpectedWarnings(guest)).toEqual([]);
      expect(await guest.powerOff("poweroff -f")).toBe(0);
    },
    CASE_TIMEOUT_MS + TRANSFER_TIMEOUT_MS,
  );

  test(
    "two guests on a bridge, one of them with two queue pairs passed as descriptors",
    async () => {
      await using network = await TestNetwork.make();
      await network.addBridge("br0");
      await network.addTap("tap0", { bridge: "br0" });
      await network.addTap("tap1", { bridge: "br0", multiQueue: true });
      const withTaps = [await withFdsProgram(), "tap1", "tap1", "--"];
      await using one = await Guest.start(vmm, {
        ...(await specOn(network, [{ host: { tap: "tap0" }, mac: MACS[0] }])),
        ...toolsRoot(await assetsOf("6.12")),
      });
      await using two = await Guest.start(vmm, {
        ...(await specOn(network, [{ host: { fds: [3, 4] }, mac: MACS[1], queuePairs: 2 }], withTaps)),
        assets: await assetsOf("6.1"),
        ...toolsRoot(await assetsOf("6.1")),
        vcpus: 2,
      });
      await Promise.all([one.ready(), two.ready()]);
      await one.run("ip address add 10.2.0.1/24 dev eth0 && ip link set eth0 up");
      await two.run("ip address add 10.2.0.2/24 dev eth0 && ip link set eth0 up");
      expect(await one.run("ping -c 2 -W 20 10.2.0.2")).toContain("2 packets received");
      expect(await two.run("ls /sys/class/net/eth0/queues | tr '\\n' ' '")).toBe("rx-0 rx-1 tx-0 tx-1 ");

      const received = two.run("socat -u TCP-LISTEN:7000 - | sha256sum");
      const sum = await one.run(
        "head -c 4194304 /dev/urandom >/tmp/noise && " +
          "socat -u /tmp/noise TCP:10.2.0.2:7000,retry=60,interval=0.5 && sha256sum </tmp/noise",
      );
      expect(await received).toBe(sum);
      expect(await one.powerOff("poweroff -f")).toBe(0);
      expect(await two.powerOff("poweroff -f")).toBe(0);
    },
    CASE_TIMEOUT_MS,
  );

  test(
    "an ordinary user without any capability: a tap made for this user and a macvtap passed open",
    async () => {
      await using workspace = await Workspace.make();
      await using network = await TestNetwork.make();
      await network.addTap("tap0", { address: "10.3.0.1/24", user: NOBODY });
      await network.ip("link", "add", "veth0", "type", "veth", "peer", "name", "veth1");
      await network.ip("address", "add", "10.4.0.1/24", "dev", "veth1");
      for (const device of ["veth0", "veth1"]) await network.ip("link", "set", device, "up");
      const macvtap = await network.addMacvtap("macvtap0", "veth0", MACS[1]);
      const nets = [
        { host: { tap: "tap0" }, mac: MACS[0] },
        { host: { fds: [3] }, mac: MACS[1] },
      ];
      await using guest = await Guest.start(vmm, {
        ...(await specOn(network, nets, [await withFdsProgram(), macvtap, "--"])),
        ...(await workspace.readableFor(NOBODY, await assetsOf("6.12"))),
      });
      await guest.ready();
      await guest.run(
        "for n in /sys/class/net/eth*; do case $(cat $n/address) in *01) a=10.3.0.2/24;; *) a=10.4.0.2/24;; esac; " +
          "n=$(basename $n); ip address add $a dev $n; ip link set $n up; done",
      );
      expect(await guest.run("ping -c 2 -W 20 10.3.0.1")).toContain("2 packets received");
      expect(await guest.run("ping -c 2 -W 20 10.4.0.1")).toContain("2 packets received");
      expect(await guest.powerOff("poweroff -f")).toBe(0);
    },
    CASE_TIMEOUT_MS,
  );

  test.skipIf(vmm !== cloudHypervisor)(
    "a tap that the VMM makes, with an address, a mask and an MTU, is gone after it",
    async () => {
      await using network = await TestNetwork.make();
      const options = "tap=made0,ip=10.5.0.1,mask=255.255.255.0,mtu=1400,host_mac=52:54:00:00:00:99";
      await using guest = await Guest.start(vmm, await specOn(network, [{ host: { options }, mac: MACS[0] }]));
      await guest.ready();
      expect(await network.run("ip", "address", "show", "made0")).toMatch(
        /mtu 1400[\s\S]*52:54:00:00:00:99[\s\S]*10\.5\.0\.1\/24/,
      );
      await guest.run("ip address add 10.5.0.2/24 dev eth0 && ip link set eth0 up");
      expect(await guest.run("cat /sys/class/net/eth0/mtu; ping -c 1 -W 20 10.5.0.1")).toMatch(
        /^1400\n[\s\S]*1 packets received/,
      );
      expect(await guest.powerOff("poweroff -f")).toBe(0);
      expect(await network.run("ip", "-brief", "link")).not.toContain("made0");
    },
    CASE_TIMEOUT_MS,
  );
});

async function addressOf(guest: Guest): Promise<string> {
  const text = await guest.run("ip -4 address show dev eth0");
  const address = /inet ([\d.]+)\//.exec(text)?.[1];
  if (address === undefined) throw new Error(`no address in ${text}`);
  return address;
}

/** Sends from each processor to an echo, so that each queue pair sends, and gets the answers of its own flows. */
async function useAllQueues(guest: Guest, network: TestNetwork): Promise<void> {
  expect(await guest.run("ethtool -l eth0")).toMatch(/Current hardware settings:[\s\S]*Combined:\s+4$/);
  await network.serve(["socat", "-d", "-d", "TCP-LISTEN:7100,fork,reuseaddr", "EXEC:cat"], /listening on/);
  const before = countersIn(await guest.run("ethtool -S eth0"));
  await guest.run(
    "for cpu in 0 1 2 3; do for n in 1 2; do " +
      "echo $cpu $n | taskset $((1 << cpu)) nc 10.1.0.1 7100 >/dev/null || exit 1; done; done",
  );
  const after = countersIn(await guest.run("ethtool -S eth0"));
  for (const queue of [0, 1, 2, 3]) {
    for (const counter of [`rx_queue_${queue}_packets`, `tx_queue_${queue}_packets`]) {
      expect(after.get(counter), counter).toBeGreaterThan(before.get(counter) ?? Number.NaN);
    }
  }
}

/** Host to guest, where the guest takes the checksum; then guest to host, where the host does. */
async function transferBothWays(guest: Guest, network: TestNetwork, workspace: Workspace): Promise<void> {
  const noise = await workspace.makeNoise("noise", TRANSFER_BYTES);
  await network.serveFile(noise, 7200);
  const download = "socat -u TCP:10.1.0.1:7200 - | sha256sum";
  expect(await guest.run(download, TRANSFER_TIMEOUT_MS)).toBe(await workspace.sha256sum("noise"));
  await rm(noise);

  const sink = await network.serveSink(workspace.path("sink"), 7201);
  const upload = await guest.run(
    `mkfifo /tmp/copy; head -c ${TRANSFER_BYTES} /dev/urandom | tee /tmp/copy | socat -u - TCP:10.1.0.1:7201 & ` +
      "sha256sum </tmp/copy; wait",
    TRANSFER_TIMEOUT_MS,
  );
  expect(await sink.exited).toBe(0);
  expect(upload).toBe(await workspace.sha256sum("sink"));
  expect(Bun.file(workspace.path("sink")).size).toBe(TRANSFER_BYTES);
}
