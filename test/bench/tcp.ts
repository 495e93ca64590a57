import { join } from "node:path";
import type { TcpThroughput } from "../lab/baseline/tcp-throughput.ts";
import { guestAssets } from "../setup/guest-assets.ts";
import { ensurePackages } from "../setup/packages.ts";
import { type Figure, median } from "./figure.ts";
import { outputInLab } from "./lab-output.ts";

const ROUNDS = 2;
const SECONDS = 2;
const TIMEOUT_MS = 15 * 60_000;
const SCRIPT = join(import.meta.dir, "../lab/baseline/print-tcp-throughput.ts");
const OURS = "cloud-hypervisor";
const USER_SPACE = "qemu-microvm";

/** Whether a value has the form of what the script prints. */
function isThroughput(value: unknown): value is TcpThroughput[] {
  return Array.isArray(value) && value.every((entry) => typeof entry === "object" && "megabitsPerSecond" in entry);
}

/** TCP between guest and host over a TAP (iperf3; 2 vCPUs), ours beside QEMU's virtio-net in user space and in the kernel. */
export async function tcpFigures(): Promise<Figure[]> {
  await ensurePackages(["iperf3", "iproute2", "dnsmasq-base", "socat"]);
  await guestAssets("6.12");
  const output = await outputInLab([process.execPath, SCRIPT, String(ROUNDS), String(SECONDS)], TIMEOUT_MS);
  const line = /^TCP (.*)$/m.exec(output)?.[1];
  if (line === undefined) throw new Error(`no throughput in: ${output}`);
  const results: unknown = JSON.parse(line);
  if (!isThroughput(results)) throw new Error(`not TCP throughput: ${JSON.stringify(results)}`);
  return results
    .filter(({ vmm }) => vmm === OURS)
    .map(({ queuePairs, streams, direction, megabitsPerSecond }) => {
      const alike = results.filter(
        (other) => other.queuePairs === queuePairs && other.streams === streams && other.direction === direction,
      );
      const rates = new Map(alike.map((other) => [other.vmm, median(other.megabitsPerSecond)]));
      const ours = median(megabitsPerSecond);
      rates.delete(OURS);
      return {
        what: `TCP ${direction}, ${streams} stream${streams === 1 ? "" : "s"}, ${queuePairs} queue pair${queuePairs === 1 ? "" : "s"}`,
        unit: "Mbit/s",
        ours,
        others: Object.fromEntries(rates),
        goal: {
          text: "at least QEMU's virtio-net in user space",
          reached: ours >= (rates.get(USER_SPACE) ?? Number.POSITIVE_INFINITY),
        },
      };
    });
}
