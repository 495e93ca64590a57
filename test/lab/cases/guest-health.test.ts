import { expect, test } from "bun:test";
import { Guest } from "../guest.ts";
import { installProgram, programDisk } from "../guest-programs.ts";
import { assetsOf, CASE_TIMEOUT_MS, vmm, Workspace } from "./support.ts";

test(
  "a guest that panics says so through pvpanic, and its watchdog brings it back",
  async () => {
    const assets = await assetsOf("6.12");
    await using workspace = await Workspace.make();
    const events = workspace.path("events");
    await using guest = await Guest.start(vmm, {
      assets,
      kernelFormat: "vmlinux",
      vcpus: 1,
      memoryMiB: 256,
      console: "hvc0",
      disks: [{ path: await programDisk("ping-watchdog"), readonly: true }],
      // Left alone, it would stay as it is for ever.
      cmdline: ["panic=0"],
      options: ["--pvpanic", "--watchdog", "--event-monitor", `path=${events}`],
    });
    await guest.ready();
    await installProgram(guest, "vda", "ping-watchdog");
    expect(await guest.run("ping-watchdog 3 1")).toBe("3 pings");
    const report = await guest.reboot("echo c >/proc/sysrq-trigger");
    expect(report.wallMs).toBeGreaterThan(20_000);
    const told = (await Bun.file(events).text())
      .split("\n\n")
      .filter((text) => text !== "")
      .map((text) => JSON.parse(text))
      .map(({ source, event, properties }) => [source, event, properties?.event ?? properties?.id].join(":"));
    expect(told).toContain("guest:panic:panic");
    expect(told.indexOf("guest:panic:panic")).toBeLessThan(told.indexOf("vm:rebooting:"));
    expect(told).toContain("virtio-device:activated:__watchdog");
    // Of the new life, nobody has armed it.
    expect(await guest.powerOff()).toBe(0);
  },
  CASE_TIMEOUT_MS,
);
