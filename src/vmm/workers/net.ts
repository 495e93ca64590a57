import { serveNetPair } from "../../devices/virtio/net/serve-pair.ts";
import { GuestMemory } from "../../memory/guest-memory.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { NetJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";

serveJobs((job: NetJob): void =>
  onThread(job, (control) => {
    serveNetPair(job.device, job.queue, new GuestMemory(job.machine.ram), control);
  }),
);
