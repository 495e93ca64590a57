import type { Segment, VcpuHandle } from "../../src/hypervisor/hypervisor.ts";
import { KvmSystem } from "../../src/hypervisor/kvm/system.ts";
import { KvmVcpu } from "../../src/hypervisor/kvm/vcpu.ts";
import { KvmVm } from "../../src/hypervisor/kvm/vm.ts";
import { gpa } from "../../src/memory/address.ts";
import { GuestMemory } from "../../src/memory/guest-memory.ts";
import { GuestRam } from "../../src/memory/ram.ts";

/** Where the code of these tests lies in the guest. */
export const CODE = 0x10_0000;
const RAM_BYTES = 16 << 20;

const segment = (selector: number, type: number, s: number): Segment => ({
  selector,
  type,
  s,
  base: 0,
  limit: s === 1 ? 0xffff_ffff : 0x67,
  present: 1,
  dpl: 0,
  db: s,
  l: 0,
  g: s,
  avl: 0,
  unusable: 0,
});

/** The smallest machine: RAM, one vCPU in flat 32-bit protected mode at `CODE`, no devices. */
export class KvmMachine {
  readonly system = new KvmSystem();
  readonly vm = new KvmVm(this.system.createVm());
  readonly ram: GuestRam;
  readonly memory: GuestMemory;
  readonly handle: VcpuHandle;
  readonly vcpu: KvmVcpu;

  /** @param code machine code, run from its first byte */
  constructor(code: readonly number[]) {
    this.vm.enableSplitIrqchip(24);
    this.vm.setTssAndIdentityMap(0xf800_0000, 0xf800_3000);
    this.ram = new GuestRam([{ gpa: gpa(0), size: RAM_BYTES }], {
      shared: false,
      hugepages: false,
      prefault: false,
      reserve: false,
      thp: false,
      mergeable: false,
    });
    this.memory = new GuestMemory(this.ram.regions);
    this.ram.regions.forEach(({ gpa: start, size, hva }, slot) => {
      this.vm.setMemoryRegion(slot, start, size, hva);
    });
    this.memory.write(CODE, Uint8Array.from(code));
    this.handle = this.vm.createVcpu(0, this.system.runSize);
    this.vcpu = new KvmVcpu(this.handle);
    this.vcpu.setCpuid(this.system.supportedCpuid());
    this.vcpu.setSpecialRegisters({
      code: segment(0x08, 0xb, 1),
      data: segment(0x10, 3, 1),
      task: segment(0x18, 0xb, 0),
      gdt: { base: 0x500, limit: 0x1f },
      idt: { base: 0x520, limit: 7 },
      cr0: 1n,
      cr4: 0n,
      x2apic: false,
    });
    this.vcpu.setRegisters({ rip: CODE, rflags: 2 });
    this.vcpu.setFpu(0x37f, 0x1f80);
    this.vcpu.setLocalInterrupts(7, 4);
  }

  close(): void {
    this.vcpu.close();
    this.vm.close();
    this.system.close();
    this.ram.close();
  }
}
