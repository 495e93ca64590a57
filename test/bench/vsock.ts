import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { StreamComparison } from "../lab/baseline/stream-throughput.ts";
import { expectPass } from "../payload/expect.ts";
import { resultNumber } from "../payload/process.ts";
import { startOnVmm } from "../payload/vmm.ts";
import { findTool, SetupError } from "../setup/exec.ts";
import { guestAssets } from "../setup/guest-assets.ts";
import { ensurePackages } from "../setup/packages.ts";
import { type Figure, median } from "./figure.ts";
import { outputInLab } from "./lab-output.ts";

const ROUNDS = 3;
const SECONDS = 3;
const LAB_TIMEOUT_MS = 20 * 60_000;
/** Small enough for two levels of emulation. */
const LAB_MIB = 64;
const SCRIPT = join(import.meta.dir, "../lab/baseline/print-stream-throughput.ts");

/** One stream between a payload that polls and a socat of the host. */
async function polledStream(op: "send" | "receive"): Promise<number> {
  const socat = findTool("socat");
  if (socat === undefined) throw new SetupError("socat is not installed on this machine");
  const folder = await mkdtemp(join(tmpdir(), "bench-vsock-"));
  try {
    const path = join(folder, "v");
    const block = `${socat} -u -b 262144`;
    const host = op === "send" ? `${block} UNIX-LISTEN:${path}_52 OPEN:/dev/null` : "";
    const server = host === "" ? undefined : Bun.spawn(["sh", "-c", host], { stderr: "ignore" });
    // socat makes its socket a moment after its start, and the guest asks for it once.
    while (
      server !== undefined &&
      !(await Bun.file(`${path}_52`)
        .stat()
        .catch(() => undefined))
    )
      await Bun.sleep(10);
    const guest = await startOnVmm("vsockbench", {
      cmdline: `op=${op} seconds=${SECONDS}`,
      memory: "size=128M",
      extra: ["--vsock", `cid=3,socket=${path}`],
    });
    await guest.nextLine((line) => line === "READY");
    const client =
      server ??
      Bun.spawn(["sh", "-c", `(echo CONNECT 52; cat /dev/zero) | ${block} - UNIX-CONNECT:${path}`], {
        stderr: "ignore",
      });
    const outcome = await guest.outcome();
    await client.exited;
    expectPass(outcome);
    return resultNumber(outcome, "mib_per_s");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function polledFigure(op: "send" | "receive", what: string): Promise<Figure> {
  const rates: number[] = [];
  for (let round = 0; round < ROUNDS; round++) rates.push(await polledStream(op));
  return { what: `vsock, one stream, payload that polls, ${what}`, unit: "MiB/s", ours: median(rates), others: {} };
}

/** Streams of stock Linux guests: vsock to a Unix socket, and TCP over a tap under QEMU, in one run. */
async function linuxStreams(): Promise<StreamComparison> {
  await guestAssets("6.12");
  const command = [process.execPath, SCRIPT, String(LAB_MIB), String(ROUNDS)];
  const output = await outputInLab(command, LAB_TIMEOUT_MS);
  const line = /^STREAMS (.*)$/m.exec(output)?.[1];
  if (line === undefined) throw new Error(`no throughput in: ${output}`);
  return JSON.parse(line);
}

/** Throughput of one stream each way. */
export async function vsockFigures(): Promise<Figure[]> {
  await ensurePackages(["socat"]);
  const { vsock, vhostVsock, tap } = await linuxStreams();
  const linux = (what: string, end: keyof typeof vsock): Figure => ({
    what: `vsock, one stream, socat in a Debian guest, ${what}`,
    unit: "MiB/s",
    ours: vsock[end],
    others: {
      "TCP over a tap, QEMU virtio-net-pci with vhost=off": tap[end],
      "vsock, QEMU vhost-vsock-pci in the host's kernel": vhostVsock[end],
    },
    goal: { text: "at least TCP over a tap", reached: vsock[end] >= tap[end] },
  });
  return [
    await polledFigure("send", "guest to host"),
    await polledFigure("receive", "host to guest"),
    linux("guest to host", "guestToHost"),
    linux("host to guest", "hostToGuest"),
  ];
}
