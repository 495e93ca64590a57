import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findTool, SetupError } from "../../setup/exec.ts";
import type { GuestAssets } from "../../setup/guest-assets.ts";
import { toolsRoot } from "../cases/support.ts";
import { Guest } from "../guest.ts";
import { TestNetwork } from "../network.ts";
import { cloudHypervisor, type GuestSpec, qemuMicrovm, type VmmDriver } from "../vmm.ts";

/** MiB a second of one stream between two socats, seen from outside: the median of the rounds. */
export interface StreamThroughput {
  readonly guestToHost: number;
  readonly hostToGuest: number;
}

const MIB = 1 << 20;
const COMMAND_MS = 300_000;
const BLOCK = ["-u", "-b", "65536"];

/** How the two ends of a stream reach each other. */
interface Way {
  readonly driver: VmmDriver;
  readonly spec: Partial<GuestSpec>;
  /** In the guest, once. */
  readonly prepare: string;
  /** socat's address of the host's end, and of that end as the guest knows it. */
  readonly listen: (port: number) => string;
  readonly connect: (port: number) => string;
  /** Words before the host's socat. */
  readonly enter: readonly string[];
}

async function measure(way: Way, assets: GuestAssets, mib: number, rounds: number): Promise<StreamThroughput> {
  const socat = findTool("socat");
  if (socat === undefined) throw new SetupError("socat is not installed on this machine");
  await using guest = await Guest.start(way.driver, {
    assets,
    kernelFormat: "vmlinux",
    vcpus: 1,
    memoryMiB: 512,
    console: "hvc0",
    ...toolsRoot(assets),
    ...way.spec,
  });
  await guest.ready();
  await guest.run(way.prepare);
  const zeroes = `OPEN:/dev/zero,readbytes=${mib * MIB}`;
  let port = 5000;
  const seconds = async (hostSends: boolean): Promise<number> => {
    port++;
    const addresses = hostSends ? [zeroes, way.listen(port)] : [way.listen(port), "OPEN:/dev/null"];
    const host = Bun.spawn([...way.enter, socat, ...BLOCK, ...addresses], { stdin: "ignore" });
    const peer = `${way.connect(port)},retry=100,interval=0.1`;
    const start = performance.now();
    await guest.run(
      ["socat", ...BLOCK, ...(hostSends ? [peer, "OPEN:/dev/null"] : [zeroes, peer])].join(" "),
      COMMAND_MS,
    );
    await host.exited;
    return (performance.now() - start) / 1000;
  };
  const median = async (hostSends: boolean): Promise<number> => {
    const rates: number[] = [];
    // The first warms up and is not counted.
    for (let round = 0; round <= rounds; round++) {
      const rate = mib / (await seconds(hostSends));
      if (round > 0) rates.push(rate);
    }
    return rates.sort((a, b) => a - b)[Math.floor(rounds / 2)] ?? Number.NaN;
  };
  const result = { guestToHost: await median(false), hostToGuest: await median(true) };
  await guest.powerOff("poweroff -f");
  return result;
}

/** QEMU with the vsock device that is in the host's kernel. */
const qemuVhostVsock: VmmDriver = {
  ...qemuMicrovm,
  name: "qemu-microvm-vhost-vsock",
  command: (spec, runDir) => [...qemuMicrovm.command(spec, runDir), "-device", "vhost-vsock-pci,guest-cid=3"],
};

/** What is compared. */
export interface StreamComparison {
  /** Ours, with a Unix socket at the host's end. */
  readonly vsock: StreamThroughput;
  /** The same driver in the guest, served by the host's kernel. */
  readonly vhostVsock: StreamThroughput;
  /** TCP over a tap under QEMU, whose model of that device is in its own process as ours is. */
  readonly tap: StreamThroughput;
}

/** Measures all of them, one after the other. */
export async function compareStreams(assets: GuestAssets, mib: number, rounds: number): Promise<StreamComparison> {
  const folder = await mkdtemp(join(tmpdir(), "streams-"));
  try {
    const path = join(folder, "v");
    const vsock = await measure(
      {
        driver: cloudHypervisor,
        spec: { options: ["--vsock", `cid=3,socket=${path}`] },
        prepare: "true",
        listen: (port) => `UNIX-LISTEN:${path}_${port}`,
        connect: (port) => `VSOCK-CONNECT:2:${port}`,
        enter: [],
      },
      assets,
      mib,
      rounds,
    );
    const vhostVsock = await measure(
      {
        driver: qemuVhostVsock,
        spec: {},
        prepare: "true",
        listen: (port) => `VSOCK-LISTEN:${port}`,
        connect: (port) => `VSOCK-CONNECT:2:${port}`,
        enter: [],
      },
      assets,
      mib,
      rounds,
    );
    await using network = await TestNetwork.make();
    await network.addTap("tap0", { address: "10.0.0.1/24" });
    const tap = await measure(
      {
        driver: qemuMicrovm,
        spec: { launcher: network.enter, nets: [{ host: { tap: "tap0" }, mac: "52:54:00:00:00:01" }] },
        prepare: "ip link set eth0 up && ip address add 10.0.0.2/24 dev eth0",
        listen: (port) => `TCP-LISTEN:${port}`,
        connect: (port) => `TCP:10.0.0.1:${port}`,
        enter: network.enter,
      },
      assets,
      mib,
      rounds,
    );
    return { vsock, vhostVsock, tap };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
