import { join } from "node:path";
import { findTool, SetupError } from "../setup/exec.ts";
import type { GuestAssets } from "../setup/guest-assets.ts";

export interface DiskSpec {
  readonly path: string;
  /** For our own VMM; raw by default. */
  readonly imageType?: "raw" | "qcow2" | "vhd" | "vhdx";
  readonly readonly?: boolean;
  readonly serial?: string;
  /** Further keys of `--disk`, for our own VMM. */
  readonly options?: string;
}

/** A network device. */
export interface NetSpec {
  /** A tap by name, made before (see TestNetwork), or its open queues, or what the VMM itself makes, in its own words. */
  readonly host: { readonly tap: string } | { readonly fds: readonly number[] } | { readonly options: string };
  readonly mac: string;
  /** 1 by default. */
  readonly queuePairs?: number;
  /** For QEMU; ours asks the tap. */
  readonly mtu?: number;
}

/** A Linux guest, whichever VMM runs it. */
export interface GuestSpec {
  readonly assets: GuestAssets;
  readonly kernelFormat: "bzImage" | "vmlinux";
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly console: "hvc0" | "ttyS0";
  /** What the other one of virtio console and serial port is connected to, for our own VMM. */
  readonly otherConsole?: string;
  /** In order: the first is the guest's /dev/vda. */
  readonly disks: readonly DiskSpec[];
  /** Root file system, e.g. `/dev/vda1`; without it the guest stays in its initramfs. Read-only where the first disk is. */
  readonly root?: string;
  readonly nets?: readonly NetSpec[];
  /** Words before the VMM's command, e.g. to run it in another network. */
  readonly launcher?: readonly string[];
  /** An ordinary user, without capabilities, to run the VMM as, and a copy of ours that this user may read. */
  readonly user?: { readonly id: number; readonly binary: string };
  /** Let the kernel print its messages on the console. */
  readonly verbose?: boolean;
  /** The power button will be pressed, so there has to be a way to do it. */
  readonly powerButton?: boolean;
  /** Further words of the kernel command line. */
  readonly cmdline?: readonly string[];
  /** Further keys of `--memory`, for our own VMM. */
  readonly memory?: string;
  /** Further options, for our own VMM. */
  readonly options?: readonly string[];
  /** Paths of what is plugged in later, or folders above them: a VMM that Landlock confines has to be told. */
  readonly plugged?: readonly string[];
}

/** Whether the whole suite runs on VMMs of ours that are confined by Landlock (CH_TEST_LANDLOCK=1). */
export const UNDER_LANDLOCK = process.env["CH_TEST_LANDLOCK"] === "1";

export interface VmmDriver {
  readonly name: string;
  /** The command that runs the guest with its console on the terminal. `runDir` is for sockets and the like. */
  command(spec: GuestSpec, runDir: string): string[];
  /** Where a guest started with that `runDir` leaves the VMM's own messages, if anywhere. */
  logFile(runDir: string): string | undefined;
  /** Presses the ACPI power button of a guest started with that `runDir`. */
  pressPowerButton(runDir: string): Promise<void>;
}

/**
 * For guests inside the emulated KVM host. QEMU's TCG does not let a nested hypervisor intercept XSETBV: KVM takes XCR0 for 1 and
 * puts that back at each entry, so a guest that uses XSAVE would lose SSE state at context switches. FXSAVE is not affected.
 * Mitigations cost time in emulation and warn of missing microcode.
 */
const EMULATED_CMDLINE = ["noxsave", "mitigations=off"];

/** The guest's kernel command line, the same under each VMM. */
export function kernelCmdline(spec: GuestSpec): string {
  const { CH_LAB_EMULATED } = process.env;
  return [
    `console=${spec.console}`,
    ...(spec.verbose === true ? [] : ["quiet"]),
    "panic=-1",
    ...(spec.root === undefined ? [] : [`root=${spec.root}`, spec.disks[0]?.readonly === true ? "ro" : "rw"]),
    ...(CH_LAB_EMULATED === "1" ? EMULATED_CMDLINE : []),
    ...(spec.cmdline ?? []),
  ].join(" ");
}

const checkout = join(import.meta.dir, "../..");

/** The binary that `npm run build` makes. */
export const cloudHypervisorBinary = join(checkout, "dist/cloud-hypervisor");

function netOption({ host, mac, queuePairs = 1 }: NetSpec): string {
  const words = [`mac=${mac}`, `num_queues=${2 * queuePairs}`];
  if ("tap" in host) words.push(`tap=${host.tap}`);
  else if ("fds" in host) words.push(`fd=[${host.fds.join(",")}]`);
  else words.push(host.options);
  return words.join(",");
}

function landlockOptions(plugged: readonly string[] = []): string[] {
  if (!UNDER_LANDLOCK) return [];
  const rules = plugged.map((path) => `path=${path},access=rw`);
  return ["--landlock", ...(rules.length === 0 ? [] : ["--landlock-rules", ...rules])];
}

export const cloudHypervisor: VmmDriver = {
  name: "cloud-hypervisor",
  command(spec, runDir) {
    const disks = spec.disks.map(({ path, imageType = "raw", readonly, serial, options }) =>
      [
        `path=${path},image_type=${imageType}`,
        ...(readonly === true ? ["readonly=on"] : []),
        ...(serial === undefined ? [] : [`serial=${serial}`]),
        ...(options === undefined ? [] : [options]),
      ].join(","),
    );
    return [
      spec.user?.binary ?? cloudHypervisorBinary,
      ...["--kernel", spec.kernelFormat === "bzImage" ? spec.assets.kernel.bzImage : spec.assets.kernel.vmlinux],
      ...["--initramfs", spec.assets.initramfs, "--cmdline", kernelCmdline(spec)],
      ...[
        "--cpus",
        `boot=${spec.vcpus}`,
        "--memory",
        [`size=${spec.memoryMiB}M`, ...(spec.memory === undefined ? [] : [spec.memory])].join(","),
      ],
      ...(disks.length === 0 ? [] : ["--disk", ...disks]),
      ...(spec.nets === undefined ? [] : ["--net", ...spec.nets.map(netOption)]),
      ...(spec.console === "hvc0"
        ? ["--serial", spec.otherConsole ?? "null", "--console", "tty"]
        : ["--serial", "tty", "--console", spec.otherConsole ?? "off"]),
      ...["-v", "--log-file", join(runDir, "vmm.log")],
      ...(spec.powerButton === true ? ["--api-socket", `path=${join(runDir, "api.sock")}`] : []),
      ...landlockOptions(spec.plugged),
      ...(spec.options ?? []),
    ];
  },
  logFile: (runDir) => join(runDir, "vmm.log"),
  async pressPowerButton(runDir) {
    const response = await fetch("http://localhost/api/v1/vm.power-button", {
      method: "PUT",
      unix: join(runDir, "api.sock"),
    });
    if (!response.ok) throw new Error(`vm.power-button: ${response.status} ${await response.text()}`);
  },
};

/** How QEMU serves a network device: in its own process, or in the host's kernel. */
type QemuNetBackEnd = "user-space" | "vhost-net";

function qemuNetArguments(nets: readonly NetSpec[], backEnd: QemuNetBackEnd): string[] {
  return nets.flatMap(({ host, mac, queuePairs = 1, mtu }, i) => {
    const vhost = `vhost=${backEnd === "vhost-net" ? "on" : "off"}`;
    const multiQueue = queuePairs > 1 ? `,mq=on,vectors=${2 * queuePairs + 2}` : "";
    let netdev = "";
    if ("tap" in host) netdev = `tap,ifname=${host.tap},script=no,downscript=no,queues=${queuePairs},${vhost}`;
    else if ("fds" in host) netdev = `tap,fds=${host.fds.join(":")},${vhost}`;
    else netdev = host.options;
    const device = `virtio-net-pci,netdev=net${i},mac=${mac}${multiQueue}${mtu === undefined ? "" : `,host_mtu=${mtu}`}`;
    return ["-netdev", `${netdev},id=net${i}`, "-device", device];
  });
}

/** QEMU's machine for the same job, with virtio-pci devices as ours: the baseline the harness itself is proven with. */
const qemuMicrovmWith = (name: string, netBackEnd: QemuNetBackEnd): VmmDriver => ({
  name,
  command(spec, runDir) {
    const qemu = findTool("qemu-system-x86_64");
    if (qemu === undefined) throw new SetupError("qemu-system-x86_64 is not installed");
    const disks = spec.disks.flatMap(({ path, readonly, serial }, i) => [
      "-drive",
      // Several guests may share what none of them writes, whatever VMM has it open.
      `if=none,id=disk${i},format=raw,file=${path},${readonly === true ? "readonly=on,file.locking=off" : "readonly=off"}`,
      "-device",
      `virtio-blk-pci,drive=disk${i}${serial === undefined ? "" : `,serial=${serial}`}`,
    ]);
    const terminal = ["-chardev", "stdio,id=terminal,signal=off"];
    const consoles =
      spec.console === "hvc0"
        ? ["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=terminal"]
        : ["-device", "isa-serial,chardev=terminal"];
    return [
      qemu,
      ...[
        "-nodefaults",
        "-no-user-config",
        "-nographic",
        "-M",
        "microvm,acpi=on,pcie=on,rtc=on,isa-serial=off,memory-backend=ram",
      ],
      ...["-accel", "kvm", "-cpu", "host", "-smp", String(spec.vcpus)],
      ...["-m", `${spec.memoryMiB}M`, "-object", `memory-backend-ram,id=ram,size=${spec.memoryMiB}M,reserve=off`],
      ...["-kernel", spec.kernelFormat === "bzImage" ? spec.assets.kernel.bzImage : spec.assets.kernel.vmlinux],
      ...["-initrd", spec.assets.initramfs, "-append", `${kernelCmdline(spec)} reboot=acpi`],
      ...["-device", "virtio-rng-pci", ...terminal, ...consoles, ...disks],
      ...qemuNetArguments(spec.nets ?? [], netBackEnd),
      ...["-qmp", `unix:${join(runDir, "qmp.sock")},server=on,wait=off`],
    ];
  },
  logFile: () => undefined,
  async pressPowerButton(runDir) {
    const replied = Promise.withResolvers<void>();
    let received = "";
    const socket = await Bun.connect({
      unix: join(runDir, "qmp.sock"),
      socket: {
        data(_socket, chunk) {
          received += chunk.toString("utf8");
          if (received.includes('"error"')) replied.reject(new Error(received));
          // One reply for the capabilities, one for the button.
          else if (received.split('"return"').length > 2) replied.resolve();
        },
        close: () => replied.reject(new Error("QMP closed")),
      },
    });
    socket.write('{"execute":"qmp_capabilities"}\n{"execute":"system_powerdown"}\n');
    await replied.promise;
    socket.end();
  },
});

export const qemuMicrovm = qemuMicrovmWith("qemu-microvm", "user-space");
export const qemuMicrovmVhost = qemuMicrovmWith("qemu-microvm-vhost", "vhost-net");

/** The VMM under test: ours, or the one `CH_LAB_VMM` names. */
export function vmmUnderTest(): VmmDriver {
  const { CH_LAB_VMM: name = cloudHypervisor.name } = process.env;
  const driver = [cloudHypervisor, qemuMicrovm, qemuMicrovmVhost].find((candidate) => candidate.name === name);
  if (driver === undefined) throw new SetupError(`CH_LAB_VMM=${name}: no such VMM driver`);
  return driver;
}
