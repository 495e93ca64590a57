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

/**
 * Decides from /dev/kvm and what stands behind it. `CH_LAB=emulated` and `CH_LAB=direct` overrule the decision.
 * A KVM without VMX or SVM (kvm_pvm) interprets kernel-mode code, too slowly for a full Linux.
 */
export async function needsLab(): Promise<LabDecision> {
  const { CH_LAB: override } = process.env;
  if (override === "emulated" || override === "direct") {
    return { emulated: override === "emulated", reason: `CH_LAB=${override}` };
  }
  if (!existsSync("/dev/kvm")) return { emulated: true, reason: "this machine has no /dev/kvm" };
  if (!canOpen("/dev/kvm")) {
    return { emulated: true, reason: "this user may not open /dev/kvm (the group kvm usually may)" };
  }
  const module = kvmModule();
  if (module === "kvm_pvm")
    return { emulated: true, reason: "/dev/kvm is kvm_pvm: paravirtual, no hardware behind it" };
  const cpuinfo = await Bun.file("/proc/cpuinfo").text();
  const extension = hasCpuFlag("vmx", cpuinfo) ? "Intel VMX" : hasCpuFlag("svm", cpuinfo) ? "AMD SVM" : undefined;
  if (extension === undefined)
    return { emulated: true, reason: "/dev/kvm is there, but the CPU shows neither VMX nor SVM" };
  return { emulated: false, reason: `/dev/kvm has hardware behind it (${extension})` };
}
