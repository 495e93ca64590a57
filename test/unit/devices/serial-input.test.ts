import { afterAll, describe, expect, test } from "bun:test";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Chardev } from "../../../src/devices/chardev/chardev.ts";
import { IoLoop } from "../../../src/devices/io-loop.ts";
import { type ByteReceiver, SerialInput } from "../../../src/devices/serial-input.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { ThreadControl, ThreadRequest } from "../../../src/threads/control.ts";
import { chardevWiring } from "./chardev/rig.ts";

const folder = mkdtempSync(join(tmpdir(), "serial-input-"));
afterAll(() => rmSync(folder, { recursive: true }));

function newControl(): ThreadControl {
  const control = new ThreadControl(mapAnonymous(ThreadControl.size));
  control.open();
  return control;
}

/** Serves a receiver from a descriptor until it asks the thread to stop. */
function serve(control: ThreadControl, inputFd: number, receiver: ByteReceiver): void {
  const loop = new IoLoop(control);
  const chardev = new Chardev(loop, chardevWiring({ kind: "fixed", outputFd: openSync("/dev/null", "w"), inputFd }));
  loop.add(chardev);
  loop.add(new SerialInput(chardev, receiver));
  loop.run();
}

describe("SerialInput", () => {
  test("offers what was refused again when it is woken, in order, and ends with its input", () => {
    const path = join(folder, "fifo");
    expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const writer = openSync(path, constants.O_WRONLY);
    const sent = Array.from({ length: 300 }, (_, i) => `${i}:`).join("");
    writeSync(writer, sent);
    closeSync(writer);
    const control = newControl();
    let received = "";
    let refusals = 0;
    serve(control, reader, {
      // Takes at most 100 bytes at a time and has room again at once.
      receive: (bytes) => {
        const taken = bytes.subarray(0, 100);
        received += new TextDecoder().decode(taken);
        if (taken.length < bytes.length) {
          refusals++;
          control.wake();
        } else if (received.length === sent.length) control.ask(ThreadRequest.STOP);
        return taken.length;
      },
    });
    expect(received).toBe(sent);
    expect(refusals).toBeGreaterThan(5);
  });

  test("does not read on while the device is full", () => {
    const path = join(folder, "full");
    expect(Bun.spawnSync(["mkfifo", path]).exitCode).toBe(0);
    const pipe = openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    writeSync(pipe, "x".repeat(1000));
    const control = newControl();
    let offers = 0;
    serve(control, pipe, {
      receive: () => {
        offers++;
        control.ask(offers < 4 ? ThreadRequest.RUN : ThreadRequest.STOP);
        return 0;
      },
    });
    expect(offers).toBe(4);
    expect(readSync(pipe, new Uint8Array(2000))).toBe(1000 - 256);
    closeSync(pipe);
  });
});
