import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { expectPass } from "./expect.ts";
import { bridgedTaps, echoingTap, hasNetworkNamespaces, inNetworkNamespace } from "./netns.ts";
import { type PayloadOutcome, PayloadProcess, resultNumber } from "./process.ts";
import { type VmmOptions, vmmArguments, vmmPath } from "./vmm.ts";

const TIMEOUT_MS = 60_000;

async function runInNamespace(setup: string, payload: string, options: VmmOptions): Promise<PayloadOutcome> {
  const command = inNetworkNamespace(setup, [vmmPath(), ...(await vmmArguments(payload, options))]);
  return new PayloadProcess(command, TIMEOUT_MS).outcome();
}

describe.if(hasNetworkNamespaces())("virtio-net", () => {
  const variants = [
    ["all offloads", "", "tap=a", "tap=b", ""],
    [
      "a MAC address, an MTU and queues of 1024",
      "mac=2e:89:a8:e4:92:4d mtu=1400",
      "tap=a,mac=2E:89:a8:e4:92:4d,mtu=1400,queue_size=1024",
      "tap=b,queue_size=1024",
      "",
    ],
    ["no notification suppression", "event_idx=0", "tap=a", "tap=b", ""],
    [
      "no offloads",
      "csum=0",
      "tap=a,offload_tso=off,offload_ufo=off,offload_csum=off",
      "tap=b,offload_tso=off,offload_ufo=off,offload_csum=off",
      "",
    ],
    ["several pairs of queues", "pairs=3", "tap=a,num_queues=6", "tap=b", "multi_queue"],
  ] as const;
  test.each(variants)("every kind of frame and command: %s", async (_name, cmdline, a, b, flags) => {
    const outcome = await runInNamespace(bridgedTaps("a", "b", flags), "netcheck", {
      cmdline,
      cpus: "boot=3",
      extra: ["--net", a, b],
    });
    expectPass(outcome);
    expect(resultNumber(outcome, "sent")).toBeGreaterThan(5000);
  });

  test("pairs of queues join and leave the TAP as the driver chooses how many it uses", async () => {
    const outcome = await runInNamespace(bridgedTaps("a", "b", "multi_queue"), "netpairs", {
      cmdline: "rounds=10",
      cpus: "boot=2",
      extra: ["--net", "tap=a,num_queues=4", "tap=b"],
    });
    expectPass(outcome);
    expect(resultNumber(outcome, "changes")).toBe(40);
  });

  test("a machine that is moved goes on, and announces where it is", async () => {
    const command = [process.execPath, join(import.meta.dir, "net-move.ts")];
    const outcome = await new PayloadProcess(inNetworkNamespace(bridgedTaps("a", "b"), command), TIMEOUT_MS).outcome();
    expectPass(outcome);
    expect(outcome.lines).toContain("READY");
  });

  test.each([1, 2])("a hostile guest: every defect of descriptors and rings on every queue, seed %d", async (seed) => {
    const outcome = await runInNamespace(echoingTap("a"), "hostile_queues", {
      cmdline: `seed=${seed} rounds=20`,
      extra: ["--net", "tap=a", "--rng"],
    });
    expectPass(outcome);
    expect(resultNumber(outcome, "devices")).toBe(2);
  });

  test("a hostile guest: registers at every width", async () => {
    const outcome = await runInNamespace(echoingTap("a"), "hostile_registers", {
      cmdline: "seed=1 rounds=200",
      cpus: "boot=2",
      extra: ["--net", "tap=a", "num_queues=4"],
    });
    expectPass(outcome);
  });
});
