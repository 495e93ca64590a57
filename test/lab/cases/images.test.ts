import { expect, test } from "bun:test";
import { Guest } from "../guest.ts";
import { assetsOf, CASE_TIMEOUT_MS, vmm, Workspace } from "./support.ts";

function qemuImg(...args: readonly string[]): void {
  const { exitCode, stdout, stderr } = Bun.spawnSync(["qemu-img", ...args]);
  if (exitCode !== 0) throw new Error(`qemu-img ${args.join(" ")}: status ${exitCode}\n${stdout}${stderr}`);
}

const FORMATS = [
  ["qcow2", ["-O", "qcow2"], "qcow2"],
  ["vhd", ["-O", "vpc", "-o", "subformat=fixed,force_size=on"], "vpc"],
  ["vhdx", ["-O", "vhdx", "-o", "subformat=dynamic"], "vhdx"],
] as const;

for (const [imageType, options, driver] of FORMATS)
  test.skipIf(vmm.name !== "cloud-hypervisor")(
    `a guest boots from a ${imageType} image made by qemu-img and writes to it; QEMU reads it and finds no error`,
    async () => {
      const assets = await assetsOf("6.12");
      await using workspace = await Workspace.make();
      const path = workspace.path(`root.${imageType}`);
      qemuImg("convert", "-f", "raw", ...options, assets.rootDisk, path);
      await using guest = await Guest.start(vmm, {
        assets,
        kernelFormat: "vmlinux",
        vcpus: 1,
        memoryMiB: 512,
        console: "hvc0",
        disks: [{ path, imageType }],
        root: "/dev/vda1",
      });
      await guest.ready();
      await guest.run(`echo "written to ${imageType}" >/mark && sync`);
      expect(await guest.powerOff("sync; mount -o remount,ro /; poweroff -f")).toBe(0);
      if (driver !== "vpc") qemuImg("check", "-q", "-f", driver, path);
      const raw = workspace.path("after.raw");
      qemuImg("convert", "-f", driver, "-O", "raw", path, raw);
      const contents = Buffer.from(await Bun.file(raw).bytes());
      expect(contents.includes(`written to ${imageType}\n`)).toBeTrue();
    },
    CASE_TIMEOUT_MS,
  );
