import { afterAll, expect, test } from "bun:test";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { threadAffinity } from "../../src/host/thread.ts";
import { scratchDir } from "../setup/cache.ts";
import { threadStatuses } from "../unit/thread-statuses.ts";
import { buildPayload } from "./build.ts";
import { eventually } from "./eventually.ts";
import { configOf, inProcessHost, SerialOutput, TestLife } from "./in-process.ts";
import { runOnVmm } from "./vmm.ts";

const host = inProcessHost();
afterAll(() => host.threads.close());

const TIMEOUT_MS = 60_000;
const PATIENCE_MS = 10_000;

/** What the kernel says about where the threads of that name may run. */
function allowed(thread: string): string[] {
  return threadStatuses("self").flatMap(({ name, field }) => (name === thread ? [field("Cpus_allowed_list")] : []));
}

test(
  "vCPUs and queues run where they are told to, and in the next VM where they like",
  async () => {
    const cpus = threadAffinity();
    const [first = 0, second = first] = cpus;
    const anywhere =
      threadStatuses("self")
        .find(({ tid }) => tid === process.pid)
        ?.field("Cpus_allowed_list") ?? "";
    const folder = await scratchDir("payload-affinity");
    try {
      const disk = join(folder, "disk");
      await Bun.write(disk, new Uint8Array(1 << 20));
      const live = async (name: string, vcpus: string, queues: string, see: () => Promise<void>): Promise<void> => {
        const output = new SerialOutput(folder, name);
        const life = new TestLife(
          configOf([
            ...["--kernel", await buildPayload("powerbutton"), "--memory", "size=64M", "--cpus", `boot=2${vcpus}`],
            ...["--serial", `file=${output.path}`, "--console", "off"],
            ...["--disk", `path=${disk},id=pinned,num_queues=2,image_type=raw${queues}`],
          ]),
          host,
        );
        await life.start();
        await output.waitFor("READY");
        await see();
        life.powerButton();
        expect(await life.over).toBe("powerOff");
        life.close();
        await output.all();
      };
      const places = ["vcpu0", "vcpu1", "pinned_q0", "pinned_q1"];
      const see = (expected: readonly string[]) => async (): Promise<void> => {
        const seen = (): string => places.slice(0, expected.length).flatMap(allowed).join(" ");
        await eventually(`threads on ${expected.join(" ")}, not ${seen()}`, PATIENCE_MS, () =>
          seen() === expected.join(" ") ? true : undefined,
        );
      };
      const pinned = [second, first, first, second].map(String);
      await live(
        "bound",
        `,affinity=[0@[${second}],1@[${first}]]`,
        `,queue_affinity=[0@[${first}],1@[${second}]]`,
        see(pinned),
      );
      await live("unbound", "", "", see([anywhere, anywhere, anywhere]));
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  },
  TIMEOUT_MS,
);

test("host CPUs that there are not: an error that says what to do", async () => {
  const outcome = await runOnVmm("hello", { cpus: "boot=1,affinity=[0@[8191]]" });
  expect(outcome.exitCode).toBe(1);
  expect(outcome.stderr).toContain("vcpu0 cannot run on host CPUs 8191");
  expect(outcome.stderr).toContain("give affinity CPUs that this host has and allows");
});
