import type { GuestAssets } from "../../setup/guest-assets.ts";
import { Guest } from "../guest.ts";
import { TestNetwork } from "../network.ts";
import type { VmmDriver } from "../vmm.ts";

/** TCP throughput of one VMM in one case, in the order of the rounds. */
export interface TcpThroughput {
  readonly vmm: string;
  readonly queuePairs: number;
  readonly streams: number;
  readonly direction: "guest to host" | "host to guest";
  readonly megabitsPerSecond: readonly number[];
}

const QUEUE_PAIRS = [1, 2] as const;
const STREAMS = [1, 4] as const;
const DIRECTIONS = ["guest to host", "host to guest"] as const;
const PORT = 5201;
/** Before the first measurement, each way: what is compiled at run time has been by then. */
const WARM_UP_SECONDS = 4;
const RUN_TIMEOUT_MS = 120_000;

/** What the host has of a guest: a TAP with an address of its own. */
interface Subject {
  readonly driver: VmmDriver;
  readonly guest: Guest;
  readonly hostAddress: string;
}

async function startGuest(
  driver: VmmDriver,
  assets: GuestAssets,
  network: TestNetwork,
  index: number,
  queuePairs: number,
): Promise<Subject> {
  const tap = `tap${queuePairs}${index}`;
  const hostAddress = `10.${queuePairs}.${index}.1`;
  await network.addTap(tap, { address: `${hostAddress}/24`, multiQueue: queuePairs > 1 });
  const guest = await Guest.start(driver, {
    assets,
    kernelFormat: "vmlinux",
    vcpus: 2,
    memoryMiB: 256,
    console: "hvc0",
    disks: [{ path: assets.toolsDisk, readonly: true }],
    root: "/dev/vda1",
    nets: [{ host: { tap }, mac: `52:54:00:00:0${queuePairs}:0${index}`, queuePairs }],
    launcher: network.enter,
  });
  return { driver, guest, hostAddress };
}

async function configure({ guest, hostAddress }: Subject): Promise<void> {
  await guest.ready();
  const address = hostAddress.replace(/1$/, "2");
  await guest.run(`ip address add ${address}/24 dev eth0; ip link set eth0 up; ping -c 1 -W 20 ${hostAddress}`);
}

/** One run of iperf3, the guest its client. @returns megabits a second that arrived */
async function measureOnce(
  { guest, hostAddress }: Subject,
  streams: number,
  direction: TcpThroughput["direction"],
  seconds: number,
): Promise<number> {
  const reverse = direction === "host to guest" ? "-R" : "";
  const command = `iperf3 -c ${hostAddress} -p ${PORT} -P ${streams} -t ${seconds} -f m ${reverse} | grep receiver`;
  const lines = (await guest.run(command, RUN_TIMEOUT_MS)).split("\n");
  const rate = /([\d.]+) Mbits\/sec/.exec(lines.find((line) => line.startsWith("[SUM]")) ?? lines[0] ?? "")?.[1];
  if (rate === undefined) throw new Error(`no rate in: ${lines.join("\n")}`);
  return Number(rate);
}

/**
 * Measures TCP throughput between guest and host with iperf3: the same guest under each driver, all of them there at once and
 * measured in turn, so that drift of the machine hits all alike.
 * @param seconds of each run
 */
export async function measureTcp(
  drivers: readonly VmmDriver[],
  assets: GuestAssets,
  rounds: number,
  seconds: number,
): Promise<TcpThroughput[]> {
  const results: TcpThroughput[] = [];
  await using network = await TestNetwork.make();
  await network.serve(["iperf3", "--server", "--port", String(PORT), "--forceflush"], /listening/);
  for (const queuePairs of QUEUE_PAIRS) {
    await using guests = new AsyncDisposableStack();
    const subjects: Subject[] = [];
    for (const [index, driver] of drivers.entries()) {
      const subject = await startGuest(driver, assets, network, index, queuePairs);
      guests.use(subject.guest);
      subjects.push(subject);
    }
    await Promise.all(subjects.map(configure));
    for (const subject of subjects)
      for (const direction of DIRECTIONS) await measureOnce(subject, 4, direction, WARM_UP_SECONDS);
    for (const streams of STREAMS) {
      for (const direction of DIRECTIONS) {
        const rates = subjects.map(() => [] as number[]);
        for (let round = 0; round < rounds; round++) {
          for (const [index, subject] of subjects.entries())
            rates[index]?.push(await measureOnce(subject, streams, direction, seconds));
        }
        subjects.forEach(({ driver }, index) => {
          const megabitsPerSecond = rates[index] ?? [];
          results.push({ vmm: driver.name, queuePairs, streams, direction, megabitsPerSecond });
        });
      }
    }
  }
  return results;
}
