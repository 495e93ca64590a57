import { Epoll } from "../../host/epoll.ts";
import { setThreadName } from "../../host/thread.ts";
import { toFailure } from "../failure.ts";
import { STOP_TOKEN, type WatcherJob, type WatcherMessage } from "../fd-watcher.ts";

declare const self: Worker;

const tell = (message: WatcherMessage): void => self.postMessage(message);

function watch({ name, epollFd }: WatcherJob): void {
  setThreadName(name);
  const epoll = new Epoll(epollFd);
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
