import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { createConnection } from "node:net";
import { expectPass } from "./expect.ts";
import { resultNumber } from "./process.ts";
import { ECHO_PORT, echo, VsockHost } from "./vsock-host.ts";

let host: VsockHost;
beforeEach(async () => {
  host = await VsockHost.make();
});
afterEach(() => host[Symbol.asyncDispose]());

const random = (length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65536)));
  return bytes;
};

describe("vsock", () => {
  test("clients of the host reach the guest; the socket is gone when the VM is", async () => {
    const guest = await host.start();
    await Promise.all(
      [1, 1000, 1 << 20, 3_000_001].map(async (length) => {
        const bytes = random(length);
        expect(Buffer.compare(await echo(await host.connect(ECHO_PORT), bytes), bytes)).toBe(0);
      }),
    );
    expect(host.connect(8)).rejects.toThrow("refused");
    const silent = createConnection({ path: host.path });
    await host.quit();
    const outcome = await guest.outcome();
    silent.destroy();
    expectPass(outcome);
    expect(existsSync(host.path)).toBeFalse();
  });

  test("the guest reaches servers of the host, with 1,000 connections at once", async () => {
    await host.serveEcho(52);
    const guest = await host.start("count=1000 bytes=3000");
    await guest.nextLine((line) => line.startsWith("DIALLED 1000 "));
    await host.quit();
    const outcome = await guest.outcome();
    expectPass(outcome);
    expect(resultNumber(outcome, "done")).toBe(1000);
    // The connection that ended it may have been reset too.
    expect(resultNumber(outcome, "resets")).toBeGreaterThanOrEqual(1000);
  });

  test("nobody listens on the host: the guest is refused", async () => {
    const guest = await host.start("count=3 bytes=0 dial=99");
    for (const port of [1000, 1001, 1002]) expect(await guest.nextLine(() => true)).toBe(`RST ${port}`);
    await host.quit();
    expectPass(await guest.outcome());
  });

  test.each(["SIGTERM", "SIGINT"] as const)("%s with open connections removes the socket", async (signal) => {
    const guest = await host.start();
    const socket = await host.connect(ECHO_PORT);
    const closed = new Promise((close) => socket.on("close", close));
    socket.on("end", () => socket.destroy()).resume();
    guest.signal(signal);
    const outcome = await guest.outcome();
    expect(outcome.exitCode).toBe(0);
    await closed;
    expect(existsSync(host.path)).toBeFalse();
  });
});
