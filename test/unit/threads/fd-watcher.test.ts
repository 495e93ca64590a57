import { expect, test } from "bun:test";
import { EpollEvent } from "../../../src/host/epoll.ts";
import { createEventFd, drainEventFd, signalEventFd } from "../../../src/host/eventfd.ts";
import { libc } from "../../../src/host/libc.ts";
import { FdWatcher } from "../../../src/threads/fd-watcher.ts";
import { WORKERS } from "../../../src/workers.ts";
import { threadStatuses } from "../thread-statuses.ts";

const fail = (error: Error): void => {
  throw error;
};

/** Calls `act` and waits until `listen` has been told of input. */
async function heard(turn: { resolve: () => void }, act: () => void): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  turn.resolve = resolve;
  act();
  await promise;
}

test("what becomes ready is told, before the thread has started and after", async () => {
  const watcher = new FdWatcher("watcher", WORKERS.fdWatcher, undefined, fail);
  const fd = createEventFd();
  const turn = { resolve: (): void => undefined };
  const token = watcher.watch(fd, (events) => {
    if (events & EpollEvent.IN && drainEventFd(fd)) turn.resolve();
  });
  for (let round = 0; round < 300; round++) await heard(turn, () => signalEventFd(fd));
  watcher.unwatch(fd, token);
  libc.close(fd);
  watcher.close();
});

test("what is not watched any more is not told", async () => {
  const watcher = new FdWatcher("watcher", WORKERS.fdWatcher, undefined, fail);
  const [silent, loud] = [createEventFd(), createEventFd()];
  const turn = { resolve: (): void => undefined };
  let told = 0;
  const token = watcher.watch(silent, (events) => {
    if (events & EpollEvent.IN) told++;
  });
  watcher.unwatch(silent, token);
  const other = watcher.watch(loud, (events) => {
    if (events & EpollEvent.IN && drainEventFd(loud)) turn.resolve();
  });
  signalEventFd(silent);
  for (let round = 0; round < 20; round++) await heard(turn, () => signalEventFd(loud));
  expect(told).toBe(0);
  watcher.unwatch(loud, other);
  for (const fd of [silent, loud]) libc.close(fd);
  watcher.close();
});

test("the thread has its name, and goes when it is told to", async () => {
  const threads = () => threadStatuses("self").filter(({ name }) => name === "fd-watcher-x").length;
  const watcher = new FdWatcher("fd-watcher-x", WORKERS.fdWatcher, undefined, fail);
  while (threads() === 0) await Bun.sleep(1);
  watcher.close();
  while (threads() > 0) await Bun.sleep(1);
  expect(threads()).toBe(0);
});
