import { bridgedTaps, inNetworkNamespace } from "../payload/netns.ts";
import {
  describeOutcome,
  PayloadError,
  type PayloadOutcome,
  PayloadProcess,
  resultNumber,
} from "../payload/process.ts";
import { qemuCommand } from "../payload/qemu.ts";
import { vmmArguments, vmmPath } from "../payload/vmm.ts";
import { type Figure, median } from "./figure.ts";

const ROUNDS = 5;
const TIMEOUT_MS = 60_000;
const TAPS = ["a", "b"] as const;

async function framesPerSecond(command: readonly string[]): Promise<number> {
  const wrapped = inNetworkNamespace(bridgedTaps(...TAPS), command);
  const outcome: PayloadOutcome = await new PayloadProcess(wrapped, TIMEOUT_MS).outcome();
  if (!outcome.passed) throw new PayloadError(`netbench did not pass: ${describeOutcome(outcome)}`);
  return resultNumber(outcome, "frames_per_s");
}

/**
 * virtio-net polled by a payload at level 3: frames that go out on one device and come in on another, whose TAPs are on one
 * bridge; ours and QEMU's virtio-net-pci without vhost in turn.
 */
export async function netFigures(): Promise<Figure[]> {
  const cmdline = "bytes=60 seconds=2";
  const ours = [vmmPath(), ...(await vmmArguments("netbench", { cmdline, extra: ["--net", "tap=a", "tap=b"] }))];
  const devices = TAPS.flatMap((tap) => [
    ...["-netdev", `tap,id=net-${tap},ifname=${tap},script=no,downscript=no,vhost=off`],
    ...["-device", `virtio-net-pci,netdev=net-${tap},disable-legacy=on`],
  ]);
  const qemu = await qemuCommand("netbench", { cmdline, extra: devices });
  const [own, others]: [number[], number[]] = [[], []];
  for (let round = 0; round < ROUNDS; round++) {
    own.push(await framesPerSecond(ours));
    others.push(await framesPerSecond(qemu));
  }
  const reached = median(own) >= median(others);
  return [
    {
      what: "virtio-net frames of 64 bytes, TAP to TAP",
      unit: "frames/s",
      ours: median(own),
      others: { "QEMU virtio-net-pci, vhost=off": median(others) },
      goal: { text: "at least QEMU's without vhost", reached },
    },
  ];
}
