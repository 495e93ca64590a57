import type { NoticeListener } from "../../devices/notices.ts";
import { serveNetPair } from "../../devices/virtio/net/serve-pair.ts";
import { reachableMemory } from "../../machine/x86_64/machine-wiring.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { NetJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";

serveJobs((job: NetJob, notify: NoticeListener): void =>
  onThread(job, (control) => {
    serveNetPair(job.device, job.queue, reachableMemory(job.machine), control, () => notify({ kind: "serving" }));
  }),
);
