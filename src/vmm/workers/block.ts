import { diskOpener } from "../../block/open-disk.ts";
import type { NoticeListener } from "../../devices/notices.ts";
import { serveBlockQueue } from "../../devices/virtio/block/serve-queue.ts";
import { reachableMemory } from "../../machine/x86_64/machine-wiring.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { BlockJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";
import { openGate } from "./open-gate.ts";
import { startServing } from "./serving.ts";

serveJobs(async (job: BlockJob, notify: NoticeListener): Promise<void> => {
  const { device, queue } = job;
  const [open, gate] = await Promise.all([diskOpener(device.settings.image), openGate(device.settings.gates?.[queue])]);
  const serving = (): void => startServing(notify);
  onThread(job, (control) => {
    serveBlockQueue(device, queue, open, reachableMemory(job.machine), control, serving, gate);
  });
});
