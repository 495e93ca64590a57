import { Chardev } from "../../devices/chardev/chardev.ts";
import type { OutputWiring } from "../../devices/chardev/wiring.ts";
import { Departure } from "../../devices/departure.ts";
import { type IoClient, IoLoop } from "../../devices/io-loop.ts";
import type { NoticeListener } from "../../devices/notices.ts";
import { ConsoleBackEnd } from "../../devices/virtio/console/back-end.ts";
import { RngBackEnd } from "../../devices/virtio/rng/back-end.ts";
import { filterProgram } from "../../host/seccomp/filter-program.ts" with { type: "macro" };
import type { VirtioWiring } from "../../machine/pci-devices.ts";
import { reachableMemory } from "../../machine/x86_64/machine-wiring.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import type { BackedRegion } from "../../memory/ram.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { IoJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";
import { openGate } from "./open-gate.ts";
import { startServing } from "./serving.ts";

const FILTER = filterProgram("io");
/** Of a thread that serves vsock as well: it connects to sockets of the host. */
const VSOCK_FILTER = filterProgram("vsock");

/** What a back end is made from on the thread that serves it. */
interface IoThread {
  readonly loop: IoLoop;
  readonly memory: GuestMemory;
  readonly ram: readonly BackedRegion[];
  readonly notify: NoticeListener;
  /** The host's end that a device's output goes to. */
  readonly chardev: (output: OutputWiring | undefined) => Chardev | undefined;
}

/**
 * How to make a device's back end, if this thread serves it. Devices that few machines have are imported here when there is
 * one: code takes memory in every process.
 */
async function backEndOf(entry: VirtioWiring): Promise<((thread: IoThread) => IoClient) | undefined> {
  switch (entry.kind) {
    case "console":
      return ({ loop, memory, chardev }) =>
        new ConsoleBackEnd(loop, entry.device, memory, chardev(entry.device.output));
    case "rng": {
      const gate = await openGate(entry.device.gate);
      return ({ loop, memory }) => new RngBackEnd(loop, entry.device, memory, gate);
    }
    case "pmem": {
      const { PmemBackEnd } = await import("../../devices/virtio/pmem/back-end.ts");
      return ({ loop, memory }) => new PmemBackEnd(loop, entry.device, memory);
    }
    case "balloon": {
      const { BalloonBackEnd } = await import("../../devices/virtio/balloon/back-end.ts");
      const { RamRelease } = await import("../../memory/ram-release.ts");
      return ({ loop, memory, ram, notify }) =>
        new BalloonBackEnd(loop, entry.device, memory, new RamRelease(ram), notify);
    }
    case "watchdog": {
      const { WatchdogBackEnd } = await import("../../devices/virtio/watchdog/back-end.ts");
      return ({ loop, memory, notify }) => new WatchdogBackEnd(loop, entry.device, memory, notify);
    }
    case "rtc": {
      const { serveRtc } = await import("../../devices/virtio/rtc/back-end.ts");
      return ({ loop, memory }) => serveRtc(loop, entry.device, memory);
    }
    case "vsock": {
      const { VsockBackEnd } = await import("../../devices/virtio/vsock/back-end.ts");
      return ({ loop, memory }) => new VsockBackEnd(loop, entry.device, memory);
    }
    case "block":
    case "net":
      return undefined;
  }
}

serveJobs(async (job: IoJob, notify: NoticeListener): Promise<void> => {
  const { machine, devices } = job;
  const { serial, tpm } = job.platform ? machine.platform : {};
  const backEnds = await Promise.all(devices.map(({ wiring }) => backEndOf(wiring)));
  // More of the machine is here only for a serial port that has input: most have none, and it takes memory.
  const serialPort = serial?.takesInput === true ? await import("./serial-port.ts") : undefined;
  const tpmBackEnd = tpm === undefined ? undefined : await import("../../devices/tpm/back-end.ts");
  onThread(job, (control) => {
    const memory = reachableMemory(machine);
    const loop = new IoLoop(control);
    // Each has a doorbell of its own.
    const wirings = job.platform ? machine.chardevs : [];
    const chardevs = new Map(wirings.map((wiring) => [wiring.output.doorbell, new Chardev(loop, wiring)]));
    const chardev = (output: OutputWiring | undefined) => output && chardevs.get(output.doorbell);
    for (const client of chardevs.values()) loop.add(client);
    const thread: IoThread = { loop, memory, ram: machine.ram, notify, chardev };
    devices.forEach(({ wiring, departure }, i) => {
      const make = backEnds[i];
      if (make === undefined) return;
      if (departure === undefined) loop.add(make(thread));
      else {
        const { id } = wiring.device.transport;
        loop.addRemovable(
          () => make(thread),
          new Departure(departure),
          () => notify({ kind: "left", id }),
        );
      }
    });
    const serialEnd = chardev(serial?.output);
    if (serialPort !== undefined && serialEnd !== undefined) loop.add(serialPort.serialInput(machine, serialEnd));
    if (tpm !== undefined && tpmBackEnd !== undefined) loop.add(new tpmBackEnd.TpmBackEnd(loop, tpm));
    startServing(job, devices.some(({ wiring }) => wiring.kind === "vsock") ? VSOCK_FILTER : FILTER, notify);
    loop.run();
  });
});
