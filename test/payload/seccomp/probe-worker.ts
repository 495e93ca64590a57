import { setThreadName } from "../../../src/host/thread.ts";
import { confineThread } from "../../../src/threads/confinement.ts";
import { prepareActs } from "./acts.ts";
import { FILTERS } from "./kinds.ts";
import type { ProbeJob } from "./probe.ts";

declare const self: Worker;

self.onmessage = ({ data: { kind, mode, acts } }: MessageEvent<ProbeJob>) => {
  setThreadName(`probe-${kind}`);
  const attempt = prepareActs();
  if (kind !== "vmm") confineThread(FILTERS[kind], mode);
  self.postMessage(acts.map((act) => [act, attempt(act)]));
};
