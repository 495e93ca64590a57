import { Epoll } from "../../../../src/host/epoll.ts";
import { drainEventFd } from "../../../../src/host/eventfd.ts";
import type { RingDriver, Used } from "./ring-driver.ts";
import type { TransportRig } from "./transport-rig.ts";

/** What a thread may take on a loaded machine. */
export const LIMIT_MS = 5000;

/** Sleeps until a vector is raised. */
export function awaitInterrupt(rig: TransportRig, vector: number): void {
  const fd = rig.wiring.vectors[vector]?.eventFd ?? -1;
  const epoll = new Epoll();
  epoll.add(fd, 0);
  const count = epoll.wait(LIMIT_MS, () => drainEventFd(fd));
  epoll.close();
  if (count === 0) throw new Error(`no interrupt ${vector}`);
}

/** Sleeps until as many chains have come back. */
export function awaitUsed(rig: TransportRig, ring: RingDriver, count: number): Used[] {
  const used = ring.take();
  while (used.length < count) {
    awaitInterrupt(rig, ring.setup.index + 1);
    used.push(...ring.take());
  }
  return used;
}
