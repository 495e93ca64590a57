import { beforeAll, describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { ensurePackages } from "../setup/packages.ts";
import { unlessGone } from "../unit/unless-gone.ts";
import { eventually } from "./eventually.ts";
import { expectPass } from "./expect.ts";
import { hasNetworkNamespaces, inNetworkNamespace } from "./netns.ts";
import { PayloadProcess } from "./process.ts";
import { vmmArguments, vmmPath } from "./vmm.ts";

const TIMEOUT_MS = 60_000;
const PATIENCE_MS = 20_000;

/** A network as passt wants one: an interface with an address and a default route. */
const ROUTED = [
  "ip link set dev lo up",
  "ip link add up0 type veth peer name up1",
  "ip address add 192.0.2.10/24 dev up0",
  "ip link set dev up0 up",
  "ip link set dev up1 up",
  "ip route add default via 192.0.2.1",
].join("\n");

interface Run {
  readonly nets: readonly string[];
  readonly payload?: string;
  readonly setup?: string;
  /** Words before the VMM's command. */
  readonly launcher?: readonly string[];
  readonly terminal?: boolean;
}

async function start({
  nets,
  payload = "hello",
  setup = ROUTED,
  launcher = [],
  terminal,
}: Run): Promise<PayloadProcess> {
  const command = [...launcher, vmmPath(), ...(await vmmArguments(payload, { extra: ["--net", ...nets] }))];
  return new PayloadProcess(inNetworkNamespace(setup, command), TIMEOUT_MS, terminal);
}

/** The passt process of a VMM, as soon as there is one: a child of its launcher. */
function passtOf(vmm: PayloadProcess): Promise<number> {
  return eventually("passt", PATIENCE_MS, () =>
    childrenOf(vmm.pid)
      .flatMap(childrenOf)
      .find((pid) => stateOf(pid)?.name.startsWith("passt") === true),
  );
}

function childrenOf(pid: number): number[] {
  const children = unlessGone(() => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8"));
  return (children ?? "").split(" ").map(Number).filter(Boolean);
}

function stateOf(pid: number): { readonly name: string; readonly state: string } | undefined {
  const stat = unlessGone(() => readFileSync(`/proc/${pid}/stat`, "utf8"));
  if (stat === undefined) return undefined;
  const [, name = "", state = ""] = /\((.*)\) (\w)/.exec(stat) ?? [];
  return { name, state };
}

/** Waits until a process has ended, be it that nobody has reaped it yet. */
async function ended(pid: number): Promise<void> {
  await eventually(`end of process ${pid}`, PATIENCE_MS, () => {
    const state = stateOf(pid)?.state;
    return state === undefined || state === "Z" ? true : undefined;
  });
}

describe.if(hasNetworkNamespaces())("user-mode network", () => {
  beforeAll(async () => {
    await ensurePackages(["passt"]);
  });

  test.each(["SIGTERM", "SIGKILL"] as const)("passt ends when %s ends the VMM", async (signal) => {
    const vmm = await start({ nets: ["user=on"], payload: "powerbutton" });
    await vmm.nextLine((line) => line.startsWith("READY"));
    const passt = await passtOf(vmm);
    vmm.signal(signal);
    await vmm.outcome();
    await ended(passt);
  });

  test("the VM goes on when passt dies, and the log says so", async () => {
    const vmm = await start({ nets: ["id=lan,user=on"], payload: "powerbutton" });
    await vmm.nextLine((line) => line.startsWith("READY"));
    const passt = await passtOf(vmm);
    process.kill(passt, "SIGKILL");
    await eventually("reaping", PATIENCE_MS, () => (stateOf(passt) === undefined ? true : undefined));
    vmm.signal("SIGTERM");
    const { stderr, exitCode } = await vmm.outcome();
    expect(stderr).toMatch(/ERROR.*lan: passt has ended \(SIGKILL.*link is down/);
    expect(exitCode).toBe(0);
  });

  test("a VM that boots again has its forwards again", async () => {
    const nets = ["user=on,forward=[tcp:8080:80,udp:192.0.2.10:5353:53]"];
    const vmm = await start({ nets, payload: "reboot", terminal: true });
    for (const command of ["a", "t", "q"]) {
      await vmm.nextLine((line) => line === "BOOT");
      vmm.write(command);
    }
    expectPass(await vmm.outcome());
  });

  const errors = [
    [
      "passt is not installed",
      { nets: ["user=on"], launcher: ["/usr/bin/env", "PATH=/nonexistent"] },
      /needs the program passt: install/,
    ],
    ["a host without a route", { nets: ["user=on"], setup: "ip link set dev lo up" }, /passt.*default route/],
    [
      "a port of the host in use",
      { nets: ["user=on,forward=tcp:8080:80", "user=on,forward=tcp:8080:80"] },
      /passt.*8080:80.*forward a port of the host that is free/,
    ],
  ] as const;
  test.each(errors)("%s is an error before the guest starts", async (_name, run, says) => {
    const { exitCode, lines, stderr } = await (await start(run)).outcome();
    expect(stderr).toMatch(says);
    expect(exitCode).toBe(1);
    expect(lines).toEqual([]);
  });
});
