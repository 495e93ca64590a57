import { beforeEach, expect, test } from "bun:test";
import { IdlePoll } from "../../../../src/devices/virtio/queue/idle-poll.ts";

/** Microseconds that one look at the ring takes. */
const LOOK_US = 1;

let nowUs = 0;
let looks = 0;
let chainsAtUs = Number.POSITIVE_INFINITY;
let idlePoll = new IdlePoll();

const ring = {
  hasChains: (): boolean => {
    looks++;
    nowUs += LOOK_US;
    return nowUs >= chainsAtUs;
  },
};

beforeEach(() => {
  [nowUs, looks, chainsAtUs] = [0, 0, Number.POSITIVE_INFINITY];
  idlePoll = new IdlePoll(() => nowUs / 1000);
});

/** The driver makes a chain available after a while. @returns for how long the ring was polled, and whether that was enough */
function idleFor(us: number): { readonly polledUs: number; readonly found: boolean } {
  const begunUs = nowUs;
  chainsAtUs = nowUs + us;
  looks = 0;
  const found = idlePoll.poll(ring);
  if (!found) {
    nowUs = Math.max(nowUs, begunUs + us);
    idlePoll.woke();
  }
  return { polledUs: looks * LOOK_US, found };
}

test("a driver that stays away is not polled", () => {
  for (let i = 0; i < 5; i++) expect(idleFor(1000)).toEqual({ polledUs: 0, found: false });
});

test("one that comes back soon is polled for as long as it takes, and caught", () => {
  for (let i = 0; i < 2; i++) expect(idleFor(20)).toEqual({ polledUs: 0, found: false });
  const found = Array.from({ length: 5 }, () => idleFor(20).found);
  expect(found.slice(-2)).toEqual([true, true]);
  expect(idleFor(20)).toEqual({ polledUs: 20, found: true });
});

test("no poll is longer than 32 us and a round of looks, however the driver behaves", () => {
  for (let i = 0; i < 20; i++) expect(idleFor(31).polledUs).toBeLessThanOrEqual(32 + 16);
  for (let i = 0; i < 3; i++) expect(idleFor(40).polledUs).toBeLessThanOrEqual(32 + 16);
});

test("polls end when it stays away again", () => {
  for (let i = 0; i < 8; i++) idleFor(20);
  expect(idleFor(1000).polledUs).toBeGreaterThanOrEqual(32);
  expect(idleFor(1000)).toEqual({ polledUs: 0, found: false });
});

test("coming back soon now and then is not enough", () => {
  for (let i = 0; i < 10; i++) expect([idleFor(20).polledUs, idleFor(100).polledUs]).toEqual([0, 0]);
});

test("a sleep that no poll came before says nothing of the driver", () => {
  for (let i = 0; i < 8; i++) idleFor(20);
  for (let i = 0; i < 10; i++) {
    nowUs += 1000;
    idlePoll.woke();
  }
  expect(idleFor(20)).toEqual({ polledUs: 20, found: true });
});
