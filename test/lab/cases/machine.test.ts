import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Guest } from "../guest.ts";
import { cloudHypervisor } from "../vmm.ts";
import { assetsOf, CASE_TIMEOUT_MS, unexpectedWarnings, vmm, Workspace } from "./support.ts";

/** "Name: value" lines, as lscpu prints them. */
function fields(text: string): Map<string, string> {
  return new Map(
    text.split("\n").map((line): [string, string] => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
    }),
  );
}

describe("what the guest sees of the machine", () => {
  let workspace: Workspace;
  let guest: Guest;

  beforeAll(async () => {
    const assets = await assetsOf("6.12");
    workspace = await Workspace.make();
    guest = await Guest.start(vmm, {
      assets,
      kernelFormat: "vmlinux",
      vcpus: 4,
      memoryMiB: 1024,
      console: "hvc0",
      disks: [{ path: await workspace.rootDisk(assets) }],
      root: "/dev/vda1",
    });
    await guest.ready();
  }, CASE_TIMEOUT_MS);

  afterAll(async () => {
    await guest[Symbol.asyncDispose]();
    await workspace[Symbol.asyncDispose]();
  });

  test("lscpu: 4 cores of 1 thread in 1 socket, full virtualization by KVM", async () => {
    const cpu = fields(await guest.run("lscpu"));
    expect(cpu.get("CPU(s)")).toBe("4");
    expect(cpu.get("On-line CPU(s) list")).toBe("0-3");
    expect(cpu.get("Thread(s) per core")).toBe("1");
    expect(cpu.get("Core(s) per socket")).toBe("4");
    expect(cpu.get("Socket(s)")).toBe("1");
    expect(cpu.get("Hypervisor vendor")).toBe("KVM");
    expect(cpu.get("Virtualization type")).toBe("full");
    expect(cpu.get("NUMA node(s)")).toBe("1");
    const { model } = /^model name\s*: (?<model>.*)$/m.exec(await Bun.file("/proc/cpuinfo").text())?.groups ?? {};
    expect(cpu.get("Model name")).toBe(model ?? "the host's own");
  });

  test("dmesg: no warning, no error, no BUG", async () => {
    expect(await unexpectedWarnings(guest)).toEqual([]);
  });

  test("each virtio device has MSI-X vectors, and they count", async () => {
    const modes = await guest.run("cat /sys/bus/pci/devices/*/msi_irqs/* | sort -u");
    expect(modes).toBe("msix");
    const interrupts = await guest.run("cat /proc/interrupts");
    const perDevice = new Map<string, number>();
    for (const line of interrupts.split("\n")) {
      const device = /PCI-MSIX.*\b(virtio\d+)-/.exec(line)?.[1];
      if (device === undefined) continue;
      const counts = line.split(":")[1]?.trim().split(/\s+/).slice(0, 4).map(Number) ?? [];
      perDevice.set(device, (perDevice.get(device) ?? 0) + counts.reduce((sum, count) => sum + count, 0));
    }
    // Console, disk and rng.
    expect(perDevice.size).toBe(3);
    for (const count of perDevice.values()) expect(count).toBeGreaterThan(0);
    expect(interrupts).toMatch(/ACPI:Ged/);
  });

  test("the random number device works", async () => {
    expect(await guest.run("cat /sys/class/misc/hw_random/rng_current")).toMatch(/^virtio_rng/);
    expect(await guest.run("head -c 4096 /dev/hwrng | wc -c")).toBe("4096");
  });

  test("the clock of the guest is the host's", async () => {
    expect(Math.abs(Number(await guest.run("date +%s")) - Date.now() / 1000)).toBeLessThan(5);
  });

  test.if(vmm.name === cloudHypervisor.name)(
    "firmware tables name Cloud Hypervisor, and dmesg has no ACPI error",
    async () => {
      expect(await guest.run("cat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name")).toBe(
        "Cloud Hypervisor\ncloud-hypervisor",
      );
      expect(await guest.run("dmesg | grep 'ACPI: DSDT'")).toMatch(/CLOUDH/);
      expect((await guest.try("dmesg | grep -E 'ACPI (Error|BIOS Error|Warning|Exception)'")).output).toBe("");
    },
  );
});
