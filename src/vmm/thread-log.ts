import { monotonicNs } from "../host/clock.ts";
import { threadId } from "../host/thread.ts";
import { type LogSettings, setLogger } from "../threads/log.ts";
import { fdSink } from "../threads/log-sink.ts";

/** Starts the calling thread's logging. @throws LogTemplateError */
export function startThreadLog(threadName: string, settings: LogSettings): void {
  setLogger(settings, { threadName, threadId: threadId(), nowNs: monotonicNs, sink: fdSink(settings.fd) });
}
