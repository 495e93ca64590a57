import { IoLoop } from "../../devices/io-loop.ts";
import { ConsoleBackEnd } from "../../devices/virtio/console/back-end.ts";
import { RngBackEnd } from "../../devices/virtio/rng/back-end.ts";
import { GuestMemory } from "../../memory/guest-memory.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { IoJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";

serveJobs(async (job: IoJob): Promise<void> => {
  const { machine, serialInputFd } = job;
  // The rest of the machine is here only for a serial port that has input: most have none, and it takes memory.
  const serialPort = serialInputFd === undefined ? undefined : await import("./serial-port.ts");
  onThread(job, (control) => {
    const memory = new GuestMemory(machine.ram);
    const loop = new IoLoop(control);
    for (const entry of machine.pci.devices) {
      if (entry.kind === "console") loop.add(new ConsoleBackEnd(loop, entry.device, memory));
      else if (entry.kind === "rng") loop.add(new RngBackEnd(loop, entry.device, memory));
    }
    if (serialInputFd !== undefined) serialPort?.addSerialInput(loop, machine, serialInputFd);
    loop.run();
  });
});
