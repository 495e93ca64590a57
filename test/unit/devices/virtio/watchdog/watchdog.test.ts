import { afterEach, expect, test } from "bun:test";
import { TransportBlock } from "../../../../../src/devices/virtio/transport/state.ts";
import { WATCHDOG_ARMED, watchdogDevice } from "../../../../../src/devices/virtio/watchdog/device.ts";
import { libc } from "../../../../../src/host/libc.ts";
import { createTimerFd } from "../../../../../src/host/timerfd.ts";
import { DeviceThread } from "../device-thread.ts";
import type { RingDriver } from "../ring-driver.ts";
import { testMemory } from "../test-memory.ts";
import { TransportRig } from "../transport-rig.ts";
import { awaitUsed } from "../waits.ts";

const MS = 1e6;
const BUFFER = 0x10_8000;
const NEVER_MS = 1e9;

const timers: number[] = [];
afterEach(() => {
  for (const fd of timers.splice(0)) libc.close(fd);
});

/** A watchdog in a thread of its own, with short times, and its driver. */
class Watchdog implements AsyncDisposable {
  readonly rig = new TransportRig(watchdogDevice, testMemory({ gpa: 0x10_0000, size: 0x1_0000 }));
  readonly thread: DeviceThread;
  ring: RingDriver | undefined;

  constructor(periodMs: number, patienceMs: number, saved?: Uint8Array) {
    if (saved !== undefined) this.rig.front.restore(saved);
    const timerFd = createTimerFd();
    timers.push(timerFd);
    const wiring = { transport: this.rig.wiring, timerFd, periodNs: periodMs * MS, patienceNs: patienceMs * MS };
    this.thread = new DeviceThread(this.rig, { kind: "watchdog", wiring });
  }

  start(): void {
    this.ring = this.rig.start()[0];
  }

  ping(): void {
    if (this.ring === undefined) throw new Error("the driver has not been started");
    this.ring.add({ address: BUFFER, length: 4, writable: true });
    this.rig.ring(0);
    expect(awaitUsed(this.rig, this.ring, 1).map(({ written }) => written)).toEqual([4]);
  }

  get armed(): boolean {
    return new TransportBlock(watchdogDevice, this.rig.wiring.block).state.device[WATCHDOG_ARMED] !== 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.thread[Symbol.asyncDispose]();
  }
}

const bite = { kind: "reset", id: "_test0" } as const;

test("a driver that goes silent has its machine reset, once", async () => {
  await using watchdog = new Watchdog(10, 25);
  watchdog.start();
  const start = performance.now();
  watchdog.ping();
  expect(await watchdog.thread.notice()).toEqual(bite);
  // Looked at every 10 ms, and silent for 25 at the third look.
  expect(performance.now() - start).toBeGreaterThanOrEqual(29);
  watchdog.ping();
  expect(await watchdog.thread.pending()).toEqual([]);
});

test("without a first buffer nothing is armed; a reset of the device does not disarm it", async () => {
  await using watchdog = new Watchdog(100, 100);
  watchdog.start();
  expect(watchdog.armed).toBe(false);
  watchdog.thread.pause();
  watchdog.thread.resume();
  expect(await watchdog.thread.pending()).toEqual([]);
  watchdog.ping();
  watchdog.rig.status = 0;
  expect(watchdog.rig.status).toBe(0);
  expect(watchdog.armed).toBe(true);
  expect(await watchdog.thread.notice()).toEqual(bite);
});

test("time stands still while the VM is paused", async () => {
  await using watchdog = new Watchdog(100, 150);
  watchdog.start();
  watchdog.ping();
  watchdog.thread.pause();
  await Bun.sleep(400);
  expect(await watchdog.thread.pending()).toEqual([]);
  const resumed = performance.now();
  watchdog.thread.resume();
  expect(await watchdog.thread.notice()).toEqual(bite);
  expect(performance.now() - resumed).toBeGreaterThanOrEqual(199);
});

test("a saved watchdog is as armed as it was", async () => {
  const saved: Uint8Array[] = [];
  {
    await using watchdog = new Watchdog(NEVER_MS, NEVER_MS);
    saved.push(watchdog.rig.front.save());
    watchdog.start();
    watchdog.ping();
    watchdog.thread.pause();
    saved.push(watchdog.rig.front.save());
    watchdog.thread.resume();
  }
  await using fresh = new Watchdog(5, 5, saved[0]);
  expect(fresh.armed).toBe(false);
  await using armed = new Watchdog(100, 100, saved[1]);
  expect(armed.armed).toBe(true);
  expect(await armed.thread.notice()).toEqual(bite);
  expect(await fresh.thread.pending()).toEqual([]);
});
