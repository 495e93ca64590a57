import { diskOpener } from "../../block/open-disk.ts";
import type { NoticeListener } from "../../devices/notices.ts";
import { serveBlockQueues } from "../../devices/virtio/block/serve-queues.ts";
import { filterProgram } from "../../host/seccomp/filter-program.ts" with { type: "macro" };
import { reachableMemory } from "../../machine/x86_64/machine-wiring.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { BlockJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";
import { openGate } from "./open-gate.ts";
import { startServing } from "./serving.ts";

const FILTER = filterProgram("block");

serveJobs(async (job: BlockJob, notify: NoticeListener): Promise<void> => {
  const { device, queues } = job;
  const { image, engines, gates } = device.settings;
  const [open, ...served] = await Promise.all([
    diskOpener(image, engines, queues.length),
    ...queues.map(async (index) => ({ index, gate: await openGate(gates?.[index]) })),
  ]);
  const serving = (): void => startServing(job, FILTER, notify);
  onThread(job, (control) => {
    serveBlockQueues(device, served, open, reachableMemory(job.machine), control, serving);
  });
});
