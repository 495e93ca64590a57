import { accessSync, constants, existsSync } from "node:fs";

/** Whether tests with full guests run on this machine's own KVM or on an emulated KVM host, and why. */
export interface LabDecision {
  readonly emulated: boolean;
  readonly reason: string;
}

function kvmModule(): string | undefined {
  return ["kvm_intel", "kvm_amd", "kvm_pvm"].find((name) => existsSync(`/sys/module/${name}`));
}

function hasCpuFlag(flag: string, cpuinfo: string): boolean {
  return new RegExp(`^flags\\s*:.*\\b${flag}\\b`, "m").test(cpuinfo);
}

function canOpen(path: string): boolean {
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  } catch (error) {
    if (error instanceof Error) return false;
    throw error;
  }
}

function isOverruled(): boolean {
  const { CH_LAB } = process.env;
  return CH_LAB === "emulated" || CH_LAB === "direct";
}

/** The decision for tests that any KVM will do for, paravirtual ones included. */
export function needsKvmHost(): LabDecision {
  const { CH_LAB } = process.env;
  if (isOverruled()) return { emulated: CH_LAB === "emulated", reason: `CH_LAB=${CH_LAB}` };
  if (!existsSync("/dev/kvm")) return { emulated: true, reason: "this machine has no /dev/kvm" };
  if (!canOpen("/dev/kvm")) {
    return { emulated: true, reason: "this user may not open /dev/kvm (the group kvm usually may)" };
  }
  return { emulated: false, reason: "/dev/kvm is there" };
}

/**
 * The decision for full Linux guests, from /dev/kvm and what stands behind it. A KVM without VMX or SVM (kvm_pvm) interprets
 * kernel-mode code, too slowly for a full Linux. `CH_LAB=emulated` and `CH_LAB=direct` overrule the decision.
 */
export async function needsLab(): Promise<LabDecision> {
  const host = needsKvmHost();
  if (host.emulated || isOverruled()) return host;
  const module = kvmModule();
  if (module === "kvm_pvm")
    return { emulated: true, reason: "/dev/kvm is kvm_pvm: paravirtual, no hardware behind it" };
  const cpuinfo = await Bun.file("/proc/cpuinfo").text();
  const extension = hasCpuFlag("vmx", cpuinfo) ? "Intel VMX" : hasCpuFlag("svm", cpuinfo) ? "AMD SVM" : undefined;
  if (extension === undefined)
    return { emulated: true, reason: "/dev/kvm is there, but the CPU shows neither VMX nor SVM" };
  return { emulated: false, reason: `/dev/kvm has hardware behind it (${extension})` };
}
