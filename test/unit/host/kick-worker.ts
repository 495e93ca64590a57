import { installKickSignal, kickThread } from "../../../src/host/thread.ts";

declare const self: Worker;

/** Kicks a thread again and again until `stop` is set, then ends. */
self.onmessage = ({ data: { tid, stop } }: MessageEvent<{ tid: number; stop: Int32Array }>) => {
  installKickSignal();
  while (Atomics.wait(stop, 0, 0, 20) === "timed-out") kickThread(tid);
  process.exit();
};
