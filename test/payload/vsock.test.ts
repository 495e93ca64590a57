import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { createConnection } from "node:net";
import { expectPass } from "./expect.ts";
import { type PayloadProcess, resultNumber } from "./process.ts";
import { runOnVmm, startOnVmm } from "./vmm.ts";
import { echo, VsockHost, VsockRefusedError } from "./vsock-host.ts";

let host: VsockHost;
beforeEach(async () => {
  host = await VsockHost.make();
});
afterEach(() => host[Symbol.asyncDispose]());

/** Ports of the payload `vsock`. */
const ECHO_PORT = 7;
const QUIT_PORT = 9;

/** Starts the payload `vsock` and waits until it is ready. */
async function startGuest(cmdline = ""): Promise<PayloadProcess> {
  const guest = await startOnVmm("vsock", { cmdline, extra: host.options });
  await guest.nextLine((line) => line === "READY cid=3");
  return guest;
}

/** Has it end, which may come before its answer. */
async function quit(): Promise<void> {
  try {
    (await host.connect(QUIT_PORT)).destroy();
  } catch (error) {
    if (!(error instanceof VsockRefusedError)) throw error;
  }
}

const random = (length: number): Uint8Array => {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += 65536) crypto.getRandomValues(bytes.subarray(at, Math.min(length, at + 65536)));
  return bytes;
};

describe("vsock", () => {
  test("clients of the host reach the guest; the socket is gone when the VM is", async () => {
    const guest = await startGuest();
    await Promise.all(
      [1, 1000, 1 << 20, 3_000_001].map(async (length) => {
        const bytes = random(length);
        expect(Buffer.compare(await echo(await host.connect(ECHO_PORT), bytes), bytes)).toBe(0);
      }),
    );
    expect(host.connect(8)).rejects.toThrow("refused");
    const silent = createConnection({ path: host.path });
    await quit();
    const outcome = await guest.outcome();
    silent.destroy();
    expectPass(outcome);
    expect(existsSync(host.path)).toBeFalse();
  });

  test("the guest reaches servers of the host, with 1,000 connections at once", async () => {
    await host.serveEcho(52);
    const guest = await startGuest("count=1000 bytes=3000");
    await guest.nextLine((line) => line.startsWith("DIALLED 1000 "));
    await quit();
    const outcome = await guest.outcome();
    expectPass(outcome);
    expect(resultNumber(outcome, "done")).toBe(1000);
    // The connection that ended it may have been reset too.
    expect(resultNumber(outcome, "resets")).toBeGreaterThanOrEqual(1000);
  });

  test("nobody listens on the host: the guest is refused", async () => {
    const guest = await startGuest("count=3 bytes=0 dial=99");
    for (const port of [1000, 1001, 1002]) expect(await guest.nextLine(() => true)).toBe(`RST ${port}`);
    await quit();
    expectPass(await guest.outcome());
  });

  test.each([1, 2, 3])("a hostile guest harms only its own streams, seed %d", async (seed) => {
    await host.serveEcho(52);
    await host.serve(53, (socket) => socket.pause());
    const outcome = await runOnVmm("vsock_hostile", { cmdline: `seed=${seed} rounds=10`, extra: host.options });
    expectPass(outcome);
    expect(resultNumber(outcome, "packets")).toBe(3000);
    expect(existsSync(host.path)).toBeFalse();
  });

  test("every defect of descriptors and rings on every queue", async () => {
    const outcome = await runOnVmm("hostile_queues", { cmdline: "rounds=5", extra: host.options });
    expectPass(outcome);
    expect(outcome.lines).toContain("vsock done");
  });

  test.each(["SIGTERM", "SIGINT"] as const)("%s with open connections removes the socket", async (signal) => {
    const guest = await startGuest();
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
