import type { KvmVm } from "../hypervisor/kvm/vm.ts";
import type { RamRegion } from "../memory/guest-memory.ts";

/**
 * The numbers of the VM's memory slots: RAM's, and those of devices that give the guest memory of their own. For the main
 * thread. What is in a slot ends with the VM; its mapping has to outlive it.
 */
export class MemorySlots {
  readonly #kvm: KvmVm;
  readonly #free: number[] = [];
  #next = 0;

  constructor(kvm: KvmVm) {
    this.#kvm = kvm;
  }

  /** A slot with nothing in it, for a device that fills it itself. */
  take(): number {
    return this.#free.pop() ?? this.#next++;
  }

  /** Gives the guest memory. @returns its slot. @throws SysError when KVM does not take it */
  add({ gpa, size, hva }: RamRegion): number {
    const slot = this.take();
    try {
      this.#kvm.setMemoryRegion(slot, gpa, size, hva);
    } catch (error) {
      this.#free.push(slot);
      throw error;
    }
    return slot;
  }

  /** Takes memory from the guest, and the slot back. @throws SysError */
  remove(slot: number): void {
    this.#kvm.setMemoryRegion(slot, 0, 0, 0);
    this.#free.push(slot);
  }
}
