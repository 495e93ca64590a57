import { PCI_SLOTS } from "../../devices/pci/segment.ts";

/** The host bridge's. */
const HOST_BRIDGE_SLOT = 0;

/** A PCI slot that cannot be had. */
export class PciSlotError extends Error {
  override readonly name = "PciSlotError";
}

/** The slots of a segment's bus: those that the user chose are set aside before any is chosen here. */
export class PciSlots {
  readonly #taken = new Set<number>([HOST_BRIDGE_SLOT]);
  readonly #setAside = new Set<number>();

  /** Sets a slot aside for a device to come, which takes it by its number. @throws PciSlotError when it has been already */
  setAside(slot: number, id: string): void {
    if (this.#setAside.has(slot) || this.#taken.has(slot)) throw new PciSlotError(takenText(slot, id));
    this.#setAside.add(slot);
  }

  /** The chosen slot, or the lowest free one. @throws PciSlotError when there is none, or it is taken */
  take(chosen: number | undefined, id = "a device"): number {
    const slot = chosen ?? this.#lowestFree();
    if (this.#taken.has(slot)) throw new PciSlotError(takenText(slot, id));
    this.#setAside.delete(slot);
    this.#taken.add(slot);
    return slot;
  }

  /** Gives a slot back. */
  free(slot: number): void {
    this.#taken.delete(slot);
  }

  #lowestFree(): number {
    for (let slot = 0; slot < PCI_SLOTS; slot++) if (!this.#taken.has(slot) && !this.#setAside.has(slot)) return slot;
    throw new PciSlotError(`all ${PCI_SLOTS} PCI slots are taken: use fewer devices`);
  }
}

const takenText = (slot: number, id: string): string =>
  `PCI slot ${slot} for ${id} is taken: give another pci_device_id`;
