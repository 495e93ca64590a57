// npm run demo [-- -i]: boots a stock Debian kernel from a disk image, shows the guest's console and ends with a summary; with -i the
// user gets the guest's shell. Where KVM has no hardware behind it, all of this happens inside the emulated KVM host.
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "../run/parts.ts";
import { SetupError } from "../setup/exec.ts";
import { type GuestAssets, guestAssets } from "../setup/guest-assets.ts";
import { Guest } from "./guest.ts";
import { needsLab } from "./hardware.ts";
import { LabError, runInLab } from "./host.ts";
import { type GuestSpec, vmmUnderTest } from "./vmm.ts";

const TOUR = [
  "uname -a",
  "cat /proc/cmdline",
  "lscpu | head -n 16",
  "grep -E 'MemTotal|MemFree' /proc/meminfo",
  "df -h /",
  "grep virtio /proc/interrupts",
  "dmesg | grep -iE 'hypervisor|DMI:|virtio_blk'",
];

const LAB_TIMEOUT_MS = 5 * 60_000;
const INTERACTIVE_TIMEOUT_MS = 24 * 3600 * 1000;

const { values: options } = parseArgs({
  options: {
    interactive: { type: "boolean", short: "i", default: false },
    // Set by the demo itself, for its part inside the emulated host.
    here: { type: "boolean", default: false },
  },
});

function spec(assets: GuestAssets, disk: string): GuestSpec {
  return {
    assets,
    kernelFormat: "bzImage",
    vcpus: 2,
    memoryMiB: 1024,
    console: "hvc0",
    disks: [{ path: disk }],
    root: "/dev/vda1",
    verbose: true,
  };
}

/** Shows a console line by line, without the lines the guest writes for the harness. */
function lineViewer(): (chunk: Uint8Array) => void {
  const decoder = new TextDecoder();
  let partial = "";
  return (chunk) => {
    const lines = (partial + decoder.decode(chunk, { stream: true })).split("\n");
    partial = lines.pop() ?? "";
    for (const line of lines)
      if (!/^<lab [^>]*>\r*$/.test(line)) process.stdout.write(`${line.replaceAll("\r", "")}\n`);
  };
}

async function tour(assets: GuestAssets, disk: string): Promise<void> {
  const vmm = vmmUnderTest();
  await using guest = await Guest.start(vmm, spec(assets, disk), lineViewer());
  const report = await guest.ready();
  for (const command of TOUR) {
    process.stdout.write(`\n# ${command}\n`);
    await guest.try(command);
  }
  process.stdout.write("\n# poweroff\n");
  const status = await guest.powerOff();
  console.log(`
${vmm.name} booted a stock Debian kernel from a disk image:
  kernel       ${report.kernel}
  CPUs         ${report.cpus}
  memory       ${Math.round(report.memoryKiB / 1024)} MiB
  root         ${report.root}
  boot time    ${(report.wallMs / 1000).toFixed(1)} s from the start of the VMM to the session on the console
               (${report.uptimeSeconds.toFixed(1)} s of them counted by the guest's own kernel)
  power off    the VMM ended with status ${status}`);
  if (status !== 0) process.exitCode = 1;
}

/** Our own terminal, or what stands for it, is the guest's console. */
async function shell(assets: GuestAssets, disk: string, runDir: string): Promise<void> {
  const child = Bun.spawn(vmmUnderTest().command(spec(assets, disk), runDir), {
    stdin: "inherit",
    stdout: "inherit",
    stderr: "inherit",
  });
  const status = await child.exited;
  console.log(`\r\nThe VMM ended with status ${status}.`);
  if (status !== 0) process.exitCode = 1;
}

async function runHere(): Promise<void> {
  const assets = await guestAssets("6.12");
  const dir = await mkdtemp(join(tmpdir(), "demo-"));
  try {
    const disk = join(dir, "root.raw");
    await copyFile(assets.rootDisk, disk);
    if (options.interactive) await shell(assets, disk, dir);
    else await tour(assets, disk);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function main(): Promise<void> {
  if (options.here) return runHere();
  if (options.interactive && !(process.stdin.isTTY && process.stdout.isTTY)) {
    throw new SetupError("-i needs a terminal");
  }
  await guestAssets("6.12");
  if (!(await build())) throw new SetupError("the build failed");
  const { emulated, reason } = await needsLab();
  console.log(
    `demo: ${emulated ? "inside an emulated KVM host (this takes half a minute)" : "on this machine"}: ${reason}`,
  );
  if (!emulated) return runHere();
  const command = [
    process.execPath,
    join(import.meta.dir, "demo.ts"),
    "--here",
    ...(options.interactive ? ["-i"] : []),
  ];
  const { status } = await runInLab(command, {
    timeoutMs: options.interactive ? INTERACTIVE_TIMEOUT_MS : LAB_TIMEOUT_MS,
    terminal: options.interactive,
  });
  process.exitCode = status;
}

try {
  await main();
} catch (error) {
  if (!(error instanceof SetupError || error instanceof LabError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
