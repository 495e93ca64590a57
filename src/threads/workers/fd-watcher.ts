import { Epoll } from "../../host/epoll.ts";
import { filterProgram } from "../../host/seccomp/filter-program.ts" with { type: "macro" };
import { setThreadName } from "../../host/thread.ts";
import { shortenTimeSlice } from "../../host/time-slice.ts";
import { confineThread } from "../confinement.ts";
import { toFailure } from "../failure.ts";
import { STOP_TOKEN, type WatcherJob, type WatcherMessage } from "../fd-watcher.ts";

const FILTER = filterProgram("watcher");

declare const self: Worker;

const tell = (message: WatcherMessage): void => self.postMessage(message);

function watch({ name, epollFd, seccomp }: WatcherJob): void {
  setThreadName(name);
  shortenTimeSlice();
  const epoll = new Epoll(epollFd);
  confineThread(FILTER, seccomp);
  tell({ kind: "started" });
  for (;;) {
    const events: number[] = [];
    epoll.wait(-1, (token, bits) => events.push(token, bits));
    if (events.some((token, index) => index % 2 === 0 && token === STOP_TOKEN)) return;
    if (events.length > 0) tell({ kind: "ready", events });
  }
}

self.onmessage = ({ data }: MessageEvent<WatcherJob>) => {
  try {
    watch(data);
    tell({ kind: "stopped" });
  } catch (error) {
    tell({ kind: "failed", failure: toFailure(error) });
  }
};
