import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { buildPayload } from "./build.ts";
import { failureChain, runCommand } from "./command.ts";
import { eventually } from "./eventually.ts";
import { expectPass } from "./expect.ts";
import { bridgedTaps, hasNetworkNamespaces, inNetworkNamespace } from "./netns.ts";
import { PayloadProcess } from "./process.ts";
import { threadNames } from "./threads.ts";
import { CH_REMOTE, vmmArguments, vmmPath } from "./vmm.ts";

const TIMEOUT_MS = 60_000;
/** What a root that must not touch interfaces runs as. */
const WITHOUT_RIGHT = ["setpriv", "--bounding-set=-net_admin"];
const withTaps = (...taps: readonly string[]): string[] => [
  process.execPath,
  join(import.meta.dir, "with-taps.ts"),
  ...taps,
  "--",
];

let folder: string;
beforeAll(async () => {
  folder = await scratchDir("net-taps");
});
afterAll(async () => {
  await rm(folder, { recursive: true, force: true });
});

describe.if(hasNetworkNamespaces())("a TAP interface that cannot be had is refused before the guest starts", () => {
  const tap = (flags: string): string => `ip tuntap add dev a mode tap ${flags}`;
  const missing = [...WITHOUT_RIGHT];
  const cases: readonly (readonly [
    what: string,
    setup: string,
    prefix: readonly string[],
    net: string,
    expected: RegExp,
  ])[] = [
    ["one that is not there, without the right to make it", "", missing, "tap=a", /a does not exist.* CAP_NET_ADMIN/],
    ["a new one without the right to make it", "", missing, "", /vmtap<n> does not exist.* CAP_NET_ADMIN/],
    ["another user's", tap("user 1234"), missing, "tap=a", /TAP interface a belongs to another user/],
    [
      "one that is down, without the right to change that",
      tap(""),
      missing,
      "tap=a",
      /cannot bring up TAP interface a/,
    ],
    ["a name of 16 bytes", "", [], "tap=abcdefghijklmnop", /'abcdefghijklmnop' has 16 bytes.*at most 15/],
    ["a name with a slash", "", [], "tap=a/b", /'a\/b' cannot be the name/],
    ["an interface of another kind", "", [], "tap=lo", /lo is no TAP interface/],
    ["one that is in use", tap(""), withTaps("a"), "tap=a", /TAP interface a is in use/],
    ["several queues of a plain one", tap(""), [], "tap=a,num_queues=4", /a has one queue.*multi_queue/],
    ["one queue of one with several", tap("multi_queue"), [], "tap=a", /a has several queues/],
    ["an MTU beyond what there is", tap(""), [], "tap=a,mtu=65535", /does not take an MTU of 65535/],
    ["an MTU below what IPv6 needs", "", [], "mtu=1279", /mtu 1279 is below 1280/],
    ["a mask with holes", "", [], "ip=10.0.0.1,mask=255.0.255.0", /mask is not a run of ones/],
    ["an address and a mask of two kinds", "", [], "ip=10.0.0.1,mask=ffff::", /not of the same kind/],
    ["a MAC address of five bytes", "", [], "mac=2e:00:00:00:00", /a MAC address such as/],
    ["a descriptor that is not open", "", [], "fd=[77]", /file descriptor 77 is not open/],
    ["a descriptor of something else", "exec 5</dev/null", [], "fd=[5]", /file descriptor 5 is no TAP/],
    ["a standard descriptor", "", [], "fd=[2]", /file descriptor 2 is reserved/],
    ["too few descriptors", "", [], "fd=[77],num_queues=4", /1 file descriptors for 4 queues/],
  ];
  test.each(cases)("%s", async (_what, setup, prefix, net, expected) => {
    const args = ["--kernel", await buildPayload("hello"), "--cpus", "boot=2", "--serial", "null", "--console", "off"];
    const outcome = await runCommand([...args, "--net", net], { prefix: [...inNetworkNamespace(setup, prefix)] });
    expect(failureChain(outcome.stderr).join("\n")).toMatch(expected);
    expect(outcome).toMatchObject({ exitCode: 1, stdout: "", left: [] });
  });
});

/** A descriptor lost in each would be more than the runtime keeps for a moment. */
const LIVES = 12;

describe.if(hasNetworkNamespaces())("TAP interfaces", () => {
  test("are made with the address, MAC and MTU that were asked for, over reboots, and go away with the VM", async () => {
    const nets = [
      "ip=10.9.8.1,mask=255.255.255.240,host_mac=2e:01:02:03:04:05,mtu=1400",
      "tap=six,ip=fd00::1,mask=ffff:ffff:ffff:ffff::,num_queues=4",
    ];
    const args = await vmmArguments("reboot", { cpus: "boot=2", extra: ["--net", ...nets] });
    const command = inNetworkNamespace("", [vmmPath(), ...args], "ip -o link show | wc -l");
    const machine = new PayloadProcess(command, TIMEOUT_MS, true);
    const boot = (line: string): boolean => line === "BOOT";
    await machine.nextLine(boot);
    // The shell waits for the monitor, its only child.
    const pid = Number(await Bun.file(`/proc/${machine.pid}/task/${machine.pid}/children`).text());
    const fds = (): number => readdirSync(`/proc/${pid}/fd`).length;
    const show = (...what: string[]): string => {
      const { exitCode, stdout, stderr } = Bun.spawnSync(["nsenter", "-n", "-t", String(pid), "ip", "-o", ...what]);
      expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
      return stdout.toString();
    };
    const serving = ["vcpu0", "vcpu1", "io", "_net0_qp0", "_net1_qp0", "_net1_qp1"];
    let before = 0;
    for (let life = 0; life < LIVES; life++) {
      expect(show("link", "show", "vmtap0")).toMatch(/mtu 1400 .*link\/ether 2e:01:02:03:04:05/s);
      expect(show("link", "show", "vmtap0")).toContain("UP");
      expect(show("addr", "show", "vmtap0")).toContain("inet 10.9.8.1/28");
      expect(show("addr", "show", "six")).toContain("inet6 fd00::1/64");
      await eventually("the threads of a VM", TIMEOUT_MS, () =>
        serving.every((name) => threadNames(pid).includes(name)) ? true : undefined,
      );
      // After the first reboot the runtime has opened all that it will, but may not have closed what was an earlier thread's.
      if (life === 1) before = fds();
      if (life > 1)
        await eventually(`${before} descriptors and no more`, TIMEOUT_MS, () => (fds() <= before ? true : undefined));
      if (life < LIVES - 1) {
        machine.write("a");
        await machine.nextLine(boot);
      }
    }
    machine.write("q");
    const outcome = await machine.outcome();
    expectPass(outcome);
    expect(outcome.lines.at(-1)).toBe("1");
  });

  test("need no right when they are there", async () => {
    const args = await vmmArguments("netcheck", { extra: ["--net", "tap=a", "tap=b"] });
    const command = inNetworkNamespace(bridgedTaps("a", "b"), [...WITHOUT_RIGHT, vmmPath(), ...args]);
    expectPass(await new PayloadProcess(command, TIMEOUT_MS).outcome());
  });

  test("can be passed as descriptors on the command line", async () => {
    const args = await vmmArguments("netcheck", {
      cmdline: "pairs=2",
      cpus: "boot=2",
      extra: ["--net", "fd=[3,4],num_queues=4", "fd=[5]"],
    });
    const taps = [...WITHOUT_RIGHT, ...withTaps("a:2", "b"), vmmPath(), ...args];
    const command = inNetworkNamespace(bridgedTaps("a", "b", "multi_queue"), taps);
    expectPass(await new PayloadProcess(command, TIMEOUT_MS).outcome());
  });

  test("can be passed through the API, and survive reboots of the VM", async () => {
    const socket = join(folder, "api.sock");
    const remote = `${CH_REMOTE} --api-socket ${socket}`;
    const config = {
      payload: { kernel: await buildPayload("netcheck") },
      serial: { mode: "Tty" },
      console: { mode: "Off" },
    };
    await Bun.write(join(folder, "vm.json"), JSON.stringify(config));
    const script = [
      `${vmmPath()} --api-socket ${socket} &`,
      `while [ ! -S ${socket} ]; do sleep 0.01; done`,
      `${remote} create ${join(folder, "vm.json")}`,
      `${remote} add-net fd=[3],id=first`,
      `${remote} add-net fd=[4]`,
      // From now on only the monitor has them.
      "exec 3<&- 4<&-",
      ...[`${remote} boot`, `${remote} shutdown`, `${remote} boot`, `${remote} reboot`, `${remote} info`],
      "echo",
      "wait",
    ].join("\n");
    const command = inNetworkNamespace(bridgedTaps("a", "b"), [...withTaps("a", "b"), "sh", "-ec", script]);
    const outcome = await new PayloadProcess(command, TIMEOUT_MS).outcome();
    expectPass(outcome);
    const info = outcome.lines.join("\n");
    expect(info).toMatch(/"id":"first"/);
    expect(info.match(/"fds":\[-1\]/g)).toHaveLength(2);
  });
});
