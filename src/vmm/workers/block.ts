import { serveBlockQueue } from "../../devices/virtio/block/serve-queue.ts";
import { reachableMemory } from "../../machine/x86_64/machine-wiring.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { BlockJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";

serveJobs((job: BlockJob): void =>
  onThread(job, (control) => {
    serveBlockQueue(job.device, job.queue, reachableMemory(job.machine), control);
  }),
);
