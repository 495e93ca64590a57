import { expect, test } from "bun:test";
import { ensurePackages } from "../../setup/packages.ts";
import { Guest } from "../guest.ts";
import { canMakeNetworks, TestNetwork } from "../network.ts";
import { cloudHypervisor } from "../vmm.ts";
import { assetsOf, CASE_TIMEOUT_MS, toolsRoot, vmm, Workspace } from "./support.ts";

const NOBODY = 65534;
const TRANSFER_BYTES = 8 * 1024 ** 2;
/** Less than the socket of passt holds: with more, Debian 12's passt on a slow host now and then stops, and resets the connection. */
const UPLOAD_BYTES = 64 * 1024;
/** What passt gives the guest is what the host has. */
const HOST_ADDRESS = "192.0.2.10";
const ROUTER = "192.0.2.1";

/** An interface with an address and a default route, as passt wants one. */
async function addUplink(network: TestNetwork): Promise<void> {
  await network.ip("link", "add", "up0", "type", "veth", "peer", "name", "up1");
  await network.ip("address", "add", `${HOST_ADDRESS}/24`, "dev", "up0");
  for (const device of ["up0", "up1"]) await network.ip("link", "set", device, "up");
  await network.ip("route", "add", "default", "via", ROUTER);
}

test.skipIf(!canMakeNetworks() || vmm !== cloudHypervisor)(
  "an ordinary user has a network by passt: DHCP, the host's services, forwarded ports; the link follows passt's life",
  async () => {
    await ensurePackages(["passt"]);
    await using workspace = await Workspace.make();
    await using network = await TestNetwork.make();
    await addUplink(network);
    const readable = await workspace.readableFor(NOBODY, await assetsOf("6.12"), true);
    await using guest = await Guest.start(vmm, {
      ...readable,
      ...toolsRoot(readable.assets),
      kernelFormat: "vmlinux",
      vcpus: 1,
      memoryMiB: 256,
      console: "hvc0",
      nets: [{ host: { options: "user=on,forward=[tcp:8080:80]" }, mac: "52:54:00:00:00:01" }],
      launcher: network.enter,
    });
    await guest.ready();
    await guest.run(GET_ADDRESS);
    expect(await guest.run("ip -4 address show dev eth0; ip route; cat /sys/class/net/eth0/mtu")).toMatch(
      new RegExp(`inet ${HOST_ADDRESS}/24[\\s\\S]*default via ${ROUTER}[\\s\\S]*\\n32768$`),
    );
    await reachHost(guest, network, workspace);
    await reachGuest(guest, network, workspace);

    await network.run("pkill", "-KILL", "passt");
    expect(await guest.run(UNTIL_NO_CARRIER)).toBe("0");
    await guest.reboot();
    await guest.run(GET_ADDRESS);
    expect(await guest.run("cat /sys/class/net/eth0/carrier")).toBe("1");
    expect(await guest.powerOff("poweroff -f")).toBe(0);
  },
  CASE_TIMEOUT_MS,
);

const GET_ADDRESS = "udhcpc -i eth0 -q -n -t 20 -T 1";
const UNTIL_NO_CARRIER =
  "for i in $(seq 100); do c=$(cat /sys/class/net/eth0/carrier); [ $c = 0 ] && break; sleep 0.2; done; echo $c";

/** The router's address stands for the host, whose services are on its own loopback interface. */
async function reachHost(guest: Guest, network: TestNetwork, workspace: Workspace): Promise<void> {
  const noise = await workspace.makeNoise("noise", TRANSFER_BYTES);
  const source = ["socat", "-d", "-d", "-u", `OPEN:${noise}`, "TCP-LISTEN:7300,bind=127.0.0.1"];
  await network.serve(source, /listening on/);
  expect(await guest.run(`socat -u TCP:${ROUTER}:7300 - | sha256sum`)).toBe(await workspace.sha256sum("noise"));

  const sink = ["socat", "-d", "-d", "-u", "TCP-LISTEN:7301,bind=127.0.0.1", `CREATE:${workspace.path("got")}`];
  const { exited, output } = await network.serve(sink, /listening on/);
  const sent = await guest.try(
    `head -c ${UPLOAD_BYTES} /dev/urandom >/tmp/noise && socat -u /tmp/noise TCP:${ROUTER}:7301 && sha256sum </tmp/noise`,
  );
  if (sent.status !== 0) throw new Error(`status ${sent.status}: ${sent.output}\nThe other end: ${output()}`);
  expect(await exited).toBe(0);
  expect(await workspace.sha256sum("got")).toBe(sent.output);
}

/** A program of the host reaches the guest through the forwarded port. */
async function reachGuest(guest: Guest, network: TestNetwork, workspace: Workspace): Promise<void> {
  await guest.run(
    "(socat -u TCP-LISTEN:80 - | sha256sum >/tmp/sum) >/dev/null 2>&1 & until netstat -ltn | grep -q ':80 '; do sleep 0.1; done",
  );
  await network.run("socat", "-u", `OPEN:${workspace.path("noise")}`, "TCP:127.0.0.1:8080");
  const sum = await guest.run("until [ -s /tmp/sum ]; do sleep 0.1; done; cat /tmp/sum");
  expect(sum).toBe(await workspace.sha256sum("noise"));
}
