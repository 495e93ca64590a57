import { IoLoop } from "../../devices/io-loop.ts";
import { SerialInput } from "../../devices/serial-input.ts";
import { ConsoleBackEnd } from "../../devices/virtio/console/back-end.ts";
import { RngBackEnd } from "../../devices/virtio/rng/back-end.ts";
import { MachineDevices } from "../../machine/x86_64/machine-devices.ts";
import { GuestMemory } from "../../memory/guest-memory.ts";
import { log } from "../../threads/log.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { IoJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";
import { PendingRequest } from "../vcpu-loop.ts";

serveJobs((job: IoJob): void =>
  onThread(job, (control) => {
    const { machine, serialInputFd } = job;
    const memory = new GuestMemory(machine.ram);
    const loop = new IoLoop(control);
    for (const entry of machine.pci.devices) {
      if (entry.kind === "console") loop.add(new ConsoleBackEnd(loop, entry.device, memory));
      else if (entry.kind === "rng") loop.add(new RngBackEnd(loop, entry.device, memory));
    }
    const { serial } = new MachineDevices(machine, { machine: new PendingRequest(), log: log.info }).platform;
    if (serial !== undefined && serialInputFd !== undefined) loop.add(new SerialInput(loop, serialInputFd, serial));
    loop.run();
  }),
);
