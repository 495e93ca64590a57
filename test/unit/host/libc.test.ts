import { describe, expect, test } from "bun:test";
import { monotonicNs } from "../../../src/host/clock.ts";
import { Epoll, EpollEvent } from "../../../src/host/epoll.ts";
import { Errno, SysError } from "../../../src/host/errno.ts";
import { createEventFd, drainEventFd, signalEventFd } from "../../../src/host/eventfd.ts";
import { futexWait } from "../../../src/host/futex.ts";
import { check, errno, libc } from "../../../src/host/libc.ts";
import { MemoryBlock } from "../../../src/host/memory-block.ts";
import { mapAnonymous, munmap } from "../../../src/host/mmap.ts";
import { cString, scratch } from "../../../src/host/scratch.ts";

describe("errno", () => {
  test("is that of the failed call, also under garbage collection and across kinds of failure", () => {
    const paths = ["/nonexistent", "/proc/self/mem/below-a-file"];
    const expected = [Errno.ENOENT, 20];
    for (let i = 0; i < 20_000; i++) {
      const kind = i % 3;
      if (kind === 2) {
        expect(libc.close(-1)).toBe(-1);
        expect(errno()).toBe(Errno.EBADF);
      } else {
        expect(libc.open(cString(paths[kind] ?? ""), 0, 0)).toBe(-1);
        expect(errno()).toBe(expected[kind] ?? 0);
      }
      if (i % 5000 === 0) Bun.gc(true);
    }
  });

  test("check names the action and the errno", () => {
    expect(() => check(libc.open(cString("/nonexistent"), 0, 0), "open /nonexistent")).toThrow(
      new SysError(Errno.ENOENT, "open /nonexistent"),
    );
    expect(new SysError(Errno.EACCES, "open x").message).toBe("open x: EACCES");
  });
});

describe("eventfd and epoll", () => {
  test("an event carries its token and is level-triggered until drained", () => {
    const epoll = new Epoll();
    const fd = createEventFd();
    epoll.add(fd, 77);
    const seen: number[] = [];
    const note = (token: number, events: number): void => {
      seen.push(token, events);
    };
    expect(epoll.wait(0, note)).toBe(0);
    signalEventFd(fd);
    signalEventFd(fd);
    expect(epoll.wait(-1, note)).toBe(1);
    expect(seen).toEqual([77, EpollEvent.IN]);
    expect(epoll.wait(0, note)).toBe(1);
    expect(drainEventFd(fd)).toBe(true);
    expect(drainEventFd(fd)).toBe(false);
    expect(epoll.wait(0, note)).toBe(0);
    epoll.remove(fd);
    signalEventFd(fd);
    expect(epoll.wait(0, note)).toBe(0);
    epoll.close();
    libc.close(fd);
  });
});

describe("memory", () => {
  test("a block refuses addresses and sizes it cannot have", () => {
    const block = mapAnonymous(100);
    expect(block.size).toBe(4096);
    for (const [address, size] of [
      [0, 8],
      [block.address + 4, 8],
      [block.address, 0],
      [block.address, 2 ** 33],
      [-8, 8],
    ] as const)
      expect(() => new MemoryBlock(address, size)).toThrow(RangeError);
    expect(() => block.sub(4000, 97)).toThrow(RangeError);
    expect(block.sub(4000, 96).address).toBe(block.address + 4000);
    munmap(block.address, block.size);
  });

  test("a C string must fit and hold no NUL", () => {
    expect(() => cString("a\0b")).toThrow(RangeError);
    expect(() => cString("x".repeat(4096))).toThrow(RangeError);
    cString("é!");
    expect([...scratch().u8.subarray(0, 4)]).toEqual([0xc3, 0xa9, 0x21, 0]);
  });
});

test("a futex wait ends at its time-out, and at once when the word differs", () => {
  const block = mapAnonymous(64);
  const start = monotonicNs();
  expect(futexWait(block.address, 0, 5)).toBe(false);
  expect(monotonicNs() - start).toBeGreaterThanOrEqual(5e6);
  expect(futexWait(block.address, 1)).toBe(true);
});
