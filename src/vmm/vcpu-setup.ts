import type { VmConfig } from "../config/schema/vm.ts";
import { cpuBrand } from "../host/cpu-brand.ts";
import type { CpuidEntry, VcpuHandle, VcpuState } from "../hypervisor/hypervisor.ts";
import { KvmVcpu } from "../hypervisor/kvm/vcpu.ts";
import type { KvmVm } from "../hypervisor/kvm/vm.ts";
import {
  BOOT_FPU,
  BOOT_MSRS,
  entryRegisters,
  entrySpecialRegisters,
  LINT_DELIVERY,
} from "../machine/x86_64/boot/vcpu-entry.ts";
import { commonCpuid } from "../machine/x86_64/cpuid/common.ts";
import { vcpuCpuid } from "../machine/x86_64/cpuid/vcpu.ts";
import type { LoadedKernel } from "../machine/x86_64/loader/kernel.ts";
import { cpuidTopology } from "../machine/x86_64/topology.ts";
import type { MachinePlan } from "./machine-plan.ts";

/** What vCPUs are made from. */
export interface VcpuPlan {
  readonly config: VmConfig;
  readonly plan: MachinePlan;
  /** What the hypervisor can offer. */
  readonly supported: readonly CpuidEntry[];
}

/** The boot vCPUs, created one after the other and brought into the state in which a kernel is entered. */
export class VcpuFactory {
  readonly #kvm: KvmVm;
  readonly #runSize: number;
  readonly #vcpuPlan: VcpuPlan;
  #common: readonly CpuidEntry[] | undefined;

  /** @param runSize bytes of a vCPU's run page */
  constructor(kvm: KvmVm, runSize: number, vcpuPlan: VcpuPlan) {
    this.#kvm = kvm;
    this.#runSize = runSize;
    this.#vcpuPlan = vcpuPlan;
  }

  /** Creates the vCPU with that index. @throws SysError, HypervisorError */
  create(index: number): VcpuHandle {
    return this.#kvm.createVcpu(this.#vcpuPlan.plan.apicIds[index] ?? index, this.#runSize);
  }

  /** Gives a vCPU what it has for its whole life and starts it at the kernel's entry. @throws SysError, HypervisorError */
  setUp(handle: VcpuHandle, index: number, kernel: LoadedKernel): void {
    const { plan } = this.#vcpuPlan;
    const vcpu = this.#identify(handle, index);
    vcpu.setMsrs(BOOT_MSRS);
    vcpu.setRegisters(entryRegisters(kernel));
    vcpu.setSpecialRegisters(entrySpecialRegisters(plan.x2apic));
    vcpu.setFpu(BOOT_FPU.fcw, BOOT_FPU.mxcsr);
    vcpu.setLocalInterrupts(LINT_DELIVERY.lint0, LINT_DELIVERY.lint1);
  }

  /** Gives a vCPU what it has for its whole life and the state of another one like it. @throws SysError, HypervisorError */
  restore(handle: VcpuHandle, index: number, state: VcpuState): void {
    this.#identify(handle, index).restoreState(state);
  }

  /** Sets CPUID. */
  #identify(handle: VcpuHandle, index: number): KvmVcpu {
    const { config, plan } = this.#vcpuPlan;
    const vcpu = new KvmVcpu(handle);
    this.#common ??= this.#commonCpuid(handle);
    vcpu.setCpuid(
      vcpuCpuid({
        common: this.#common,
        topology: cpuidTopology(config.cpus.boot_vcpus, plan.topology),
        index,
        nested: config.cpus.nested,
      }),
    );
    return vcpu;
  }

  #commonCpuid(handle: VcpuHandle): readonly CpuidEntry[] {
    const { config, plan, supported } = this.#vcpuPlan;
    const tscKhz = this.#kvm.tscKhz(handle.fd);
    return commonCpuid({
      supported,
      brand: cpuBrand(),
      physicalAddressBits: plan.physicalAddressBits,
      kvmHyperv: config.cpus.kvm_hyperv,
      amx: config.cpus.features.amx,
      tscKhz: tscKhz === 0 ? undefined : tscKhz,
    });
  }
}
