import { expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DescriptorSink } from "../../../src/devices/byte-sink.ts";
import { createEventFd } from "../../../src/host/eventfd.ts";
import { libc } from "../../../src/host/libc.ts";

test("bytes reach the file one by one", () => {
  const folder = mkdtempSync(join(tmpdir(), "byte-sink-"));
  try {
    const path = join(folder, "out");
    const fd = openSync(path, "w");
    const sink = new DescriptorSink(fd);
    for (const byte of [0x00, 0x41, 0xff]) sink.write(byte);
    closeSync(fd);
    expect([...readFileSync(path)]).toEqual([0x00, 0x41, 0xff]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("output that fails for good is lost at once, without an error", () => {
  const readOnly = openSync("/dev/null", "r");
  new DescriptorSink(readOnly).write(1);
  closeSync(readOnly);
  const full = openSync("/dev/full", "w");
  new DescriptorSink(full).write(1);
  closeSync(full);
  // An eventfd takes 8 bytes and nothing else, and says so with EINVAL.
  const eventFd = createEventFd();
  new DescriptorSink(eventFd).write(1);
  libc.close(eventFd);
});

test("output that nobody takes is lost after one bounded wait", () => {
  const folder = mkdtempSync(join(tmpdir(), "byte-sink-"));
  try {
    const path = join(folder, "fifo");
    expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
    // Read and write end in one: the pipe fills up and nobody empties it.
    const O_RDWR_NONBLOCK = 0o2 | 0o4000;
    const fd = openSync(path, O_RDWR_NONBLOCK);
    const block = new Uint8Array(4096);
    expect(() => {
      for (;;) writeSync(fd, block);
    }).toThrow("EAGAIN");
    const before = performance.now();
    const sink = new DescriptorSink(fd);
    for (let i = 0; i < 100; i++) sink.write(1);
    const waited = performance.now() - before;
    closeSync(fd);
    expect(waited).toBeGreaterThan(50);
    expect(waited).toBeLessThan(5000);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
