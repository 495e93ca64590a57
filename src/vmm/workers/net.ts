import type { NoticeListener } from "../../devices/notices.ts";
import { serveNetPair } from "../../devices/virtio/net/serve-pair.ts";
import { filterProgram } from "../../host/seccomp/filter-program.ts" with { type: "macro" };
import { reachableMemory } from "../../machine/x86_64/machine-wiring.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { NetJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";
import { openGate } from "./open-gate.ts";
import { startServing } from "./serving.ts";

const FILTER = filterProgram("net");

serveJobs(async (job: NetJob, notify: NoticeListener): Promise<void> => {
  const { device, queue: pair } = job;
  const { receive, transmit } = device.gates[pair] ?? {};
  const gates = { receive: await openGate(receive), transmit: await openGate(transmit) };
  const serving = (): void => startServing(job, FILTER, notify);
  onThread(job, (control) => {
    serveNetPair(device, pair, reachableMemory(job.machine), control, serving, gates);
  });
});
