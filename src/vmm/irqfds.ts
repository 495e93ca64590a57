import type { Irqfd } from "../devices/lines.ts";
import { createEventFd } from "../host/eventfd.ts";
import { libc } from "../host/libc.ts";
import type { KvmVm } from "../hypervisor/kvm/vm.ts";

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

/** Hands out GSIs, each with an eventfd that raises it until it is given back. */
export class IrqfdAllocator {
  /** Routes the VM can ever need. */
  static readonly capacity = GSI_LIMIT - FIRST_GSI;
  readonly #vm: KvmVm;
  /** Those given back. */
  readonly #free: number[] = [];
  #next = FIRST_GSI;

  constructor(vm: KvmVm) {
    this.#vm = vm;
  }

  /** A GSI without a route. @throws OutOfInterruptsError, SysError */
  allocate(): Irqfd {
    const gsi = this.#free.pop() ?? this.#next++;
    if (gsi >= GSI_LIMIT) throw new OutOfInterruptsError();
    const eventFd = createEventFd();
    try {
      this.#vm.assignIrqfd(eventFd, gsi);
      return { gsi, eventFd };
    } catch (error) {
      this.free({ gsi, eventFd });
      throw error;
    }
  }

  /** Takes a GSI back, which has no route any more. KVM lets go of an eventfd that is closed. */
  free({ gsi, eventFd }: Irqfd): void {
    libc.close(eventFd);
    this.#free.push(gsi);
  }
}
