import { serveBlockQueue } from "../../devices/virtio/block/serve-queue.ts";
import { reachableMemory } from "../../machine/x86_64/machine-wiring.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { BlockJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";
import { openGate } from "./open-gate.ts";

serveJobs(async (job: BlockJob): Promise<void> => {
  const { device, queue } = job;
  const gate = await openGate(device.settings.gates?.[queue]);
  onThread(job, (control) => {
    serveBlockQueue(device, queue, reachableMemory(job.machine), control, gate);
  });
});
