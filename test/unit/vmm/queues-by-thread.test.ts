import { expect, test } from "bun:test";
import { queuesByThread } from "../../../src/vmm/devices/disk.ts";

test("queues of a disk are shared out among as many threads as there may be", () => {
  expect(queuesByThread(4, 4)).toEqual([[0], [1], [2], [3]]);
  expect(queuesByThread(4, 2)).toEqual([
    [0, 2],
    [1, 3],
  ]);
  expect(queuesByThread(5, 3)).toEqual([[0, 3], [1, 4], [2]]);
  expect(queuesByThread(1, 8)).toEqual([[0]]);
});

test("however few CPUs the host has, there is a thread", () => {
  expect(queuesByThread(3, 0)).toEqual([[0, 1, 2]]);
});
