import { chmod, copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type GuestAssets, type GuestSeries, guestAssets } from "../../setup/guest-assets.ts";
import type { Guest } from "../guest.ts";
import { cloudHypervisorBinary, type GuestSpec, vmmUnderTest } from "../vmm.ts";

/** The VMM all cases run. */
export const vmm = vmmUnderTest();

const assets = new Map<GuestSeries, Promise<GuestAssets>>();

/** Assets of a kernel series, looked up once. */
export function assetsOf(series: GuestSeries): Promise<GuestAssets> {
  const known = assets.get(series) ?? guestAssets(series);
  assets.set(series, known);
  return known;
}

/** A folder for one test's disk images, in memory where TMPDIR is; removed at the end of the scope. */
export class Workspace implements AsyncDisposable {
  readonly dir: string;

  private constructor(dir: string) {
    this.dir = dir;
  }

  static async make(): Promise<Workspace> {
    return new Workspace(await mkdtemp(join(tmpdir(), "lab-")));
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  /** A copy of the root disk that a guest may write to. */
  async rootDisk(source: GuestAssets): Promise<string> {
    const copy = this.path("root.raw");
    await copyFile(source.rootDisk, copy);
    return copy;
  }

  /** Writes a file in which no two blocks are alike, cheap to make where each instruction is emulated. @returns its path */
  async makeNoise(name: string, bytes: number): Promise<string> {
    const block = crypto.getRandomValues(new Uint8Array(65536));
    const number = new DataView(block.buffer);
    const writer = Bun.file(this.path(name)).writer();
    for (let offset = 0; offset < bytes; offset += block.length) {
      number.setFloat64(0, offset);
      writer.write(block.subarray(0, bytes - offset));
      await writer.flush();
    }
    await writer.end();
    return this.path(name);
  }

  /** What sha256sum prints of a file that it reads from its standard input. */
  async sha256sum(name: string): Promise<string> {
    const hasher = new Bun.CryptoHasher("sha256");
    for await (const chunk of Bun.file(this.path(name)).stream()) hasher.update(chunk);
    return `${hasher.digest("hex")}  -`;
  }

  /** What a VMM reads, copied to where an ordinary user may read it too. */
  async readableFor(
    id: number,
    source: GuestAssets,
    withTools = false,
  ): Promise<Required<Pick<GuestSpec, "assets" | "user">>> {
    await chmod(this.dir, 0o755);
    const copy = async (path: string, name: string): Promise<string> => {
      await copyFile(path, this.path(name));
      return this.path(name);
    };
    const { kernel } = source;
    const assets = {
      ...source,
      kernel: { ...kernel, vmlinux: await copy(kernel.vmlinux, "vmlinux") },
      initramfs: await copy(source.initramfs, "initramfs"),
      ...(withTools ? { toolsDisk: await copy(source.toolsDisk, "tools.raw") } : {}),
    };
    return { assets, user: { id, binary: await copy(cloudHypervisorBinary, "cloud-hypervisor") } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.dir, { recursive: true, force: true });
  }
}

/** The part of a guest's specification that makes its root the disk with all tools. */
export function toolsRoot(source: GuestAssets): Pick<GuestSpec, "disks" | "root"> {
  return { disks: [{ path: source.toolsDisk, readonly: true }], root: "/dev/vda1" };
}

/**
 * Kernel messages of level warning and worse that come with the kernels and the busybox guest, on any VMM:
 * Debian 6.1 has the driver of hvc0 as a module, so there is no console before the initramfs has loaded it.
 */
const EXPECTED_WARNINGS = [/Warning: unable to open an initial console/];

/** Complaints of a guest in an emulated host about how long things take. */
const SLOWNESS = [/hrtimer: interrupt took/, /clocksource: .*(delay|unstable|skew|Long readout interval)/];

/**
 * What a VMM is known to make the kernel warn of. On Cloud Hypervisor, and so on ours, register B of the clock is plain RAM that
 * resets to 0, without the 24-hour bit that Linux' driver asks for.
 */
const KNOWN_OF_VMM: Readonly<Record<string, readonly RegExp[]>> = {
  "cloud-hypervisor": [/rtc_cmos rtc_cmos: only 24-hr supported/],
  "qemu-microvm": [/PCI: Fatal: No config space access function found/],
};

/** The guest kernel's messages of level warning (4) and worse that are not expected, one a line. */
export async function unexpectedWarnings(guest: Guest): Promise<string[]> {
  const { CH_LAB_EMULATED } = process.env;
  const slowness = CH_LAB_EMULATED === "1" ? SLOWNESS : [];
  const expected = [...EXPECTED_WARNINGS, ...slowness, ...(KNOWN_OF_VMM[vmm.name] ?? [])];
  // Chosen in the guest: a whole log on an emulated serial line takes long.
  const { output } = await guest.try("dmesg -r | grep -E '^<[0-4]>|BUG|ACPI.*[Ee]rror'");
  const lines = output.split("\n").filter((line) => line !== "");
  return lines.filter((line) => !expected.some((pattern) => pattern.test(line)));
}

/** Where emulation makes each guest slow, a whole case gets this long. */
export const CASE_TIMEOUT_MS = 300_000;

/** Waits in the guest until `test` holds, for a minute at most: a command of its shell, which fails when it does not. */
export const until = (test: string): string =>
  `i=0; until ${test}; do sleep 0.1; i=$((i+1)); [ $i -lt 600 ] || exit 1; done`;
