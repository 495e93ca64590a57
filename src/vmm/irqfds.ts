import type { Irqfd } from "../devices/lines.ts";
import { createEventFd } from "../host/eventfd.ts";
import type { KvmVm } from "../hypervisor/kvm/vm.ts";
import type { Descriptors } from "./descriptors.ts";

/** GSIs below belong to the IOAPIC's pins in the guest's own numbering; those above are internal. */
const FIRST_GSI = 24;
/** KVM's limit of the routing table. */
const GSI_LIMIT = 4096;

/** The machine has no interrupt left. */
export class OutOfInterruptsError extends Error {
  override readonly name = "OutOfInterruptsError";
  constructor() {
    super(`all ${GSI_LIMIT - FIRST_GSI} interrupts of the VM are in use: configure fewer devices or queues`);
  }
}

/** Hands out GSIs, each with an eventfd that raises it for the VM's whole life. */
export class IrqfdAllocator {
  /** Routes the VM can ever need. */
  static readonly capacity = GSI_LIMIT - FIRST_GSI;
  readonly #vm: KvmVm;
  readonly #descriptors: Descriptors;
  #next = FIRST_GSI;

  constructor(vm: KvmVm, descriptors: Descriptors) {
    this.#vm = vm;
    this.#descriptors = descriptors;
  }

  /** A new GSI. @throws OutOfInterruptsError, SysError */
  readonly allocate = (): Irqfd => {
    if (this.#next >= GSI_LIMIT) throw new OutOfInterruptsError();
    const gsi = this.#next++;
    const eventFd = this.#descriptors.own(createEventFd());
    this.#vm.assignIrqfd(eventFd, gsi);
    return { gsi, eventFd };
  };
}
