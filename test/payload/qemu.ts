import { findTool, SetupError } from "../setup/exec.ts";
import { buildPayload } from "./build.ts";
import { type PayloadOutcome, PayloadProcess } from "./process.ts";

/** How to run a payload on QEMU. */
export interface QemuOptions {
  /** The guest's command line, without `exit=`. */
  readonly cmdline?: string;
  /** q35 has PCI and starts through SeaBIOS (seconds where level-0 code is interpreted); microvm starts at once. */
  readonly machine?: "q35" | "microvm";
  readonly accelerator?: "kvm" | "tcg";
  readonly memoryMiB?: number;
  readonly cpus?: number;
  /** More arguments, such as drives and devices. */
  readonly extra?: readonly string[];
  readonly timeoutMs?: number;
}

/** The QEMU binary for this architecture. Throws SetupError when it is not installed. */
export function qemuPath(): string {
  const path = findTool("qemu-system-x86_64");
  if (path === undefined) {
    throw new SetupError("QEMU is needed here: install it (Debian: apt-get install qemu-system-x86)");
  }
  return path;
}

/** The command that runs a payload on QEMU, its serial port on standard input and output. */
export async function qemuCommand(name: string, options: QemuOptions = {}): Promise<string[]> {
  const elf = await buildPayload(name);
  const accelerator = options.accelerator ?? "kvm";
  return [
    qemuPath(),
    ...["-accel", accelerator, "-M", options.machine ?? "q35"],
    // A KVM without hardware support refuses to set MSR 0x10a, which comes with arch-capabilities.
    ...["-cpu", accelerator === "kvm" ? "host,-arch-capabilities" : "max"],
    ...["-m", `${options.memoryMiB ?? 512}`, "-smp", `${options.cpus ?? 1}`],
    ...["-kernel", elf, "-append", `exit=qemu ${options.cmdline ?? ""}`],
    ...["-display", "none", "-nodefaults", "-no-user-config", "-no-reboot"],
    ...["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"],
    ...["-device", "isa-debug-exit,iobase=0xf4,iosize=4"],
    ...(options.extra ?? []),
  ];
}

/** Starts a payload on QEMU. */
export async function startOnQemu(name: string, options: QemuOptions = {}): Promise<PayloadProcess> {
  return new PayloadProcess(await qemuCommand(name, options), options.timeoutMs ?? 60_000);
}

/** Runs a payload on QEMU to its end. */
export async function runOnQemu(name: string, options: QemuOptions = {}): Promise<PayloadOutcome> {
  return (await startOnQemu(name, options)).outcome();
}
