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
  readonly #chosen = new Set<number>();

  /** Sets a slot aside. @throws PciSlotError when it has been already */
  choose(slot: number, id: string): void {
    if (this.#chosen.has(slot) || slot === HOST_BRIDGE_SLOT)
      throw new PciSlotError(`PCI slot ${slot} for ${id} is taken: give another pci_device_id`);
    this.#chosen.add(slot);
  }

  /** The chosen slot, or the lowest free one. @throws PciSlotError when there is none */
  take(chosen: number | undefined): number {
    if (chosen !== undefined) return chosen;
    for (let slot = 0; slot < PCI_SLOTS; slot++)
      if (!this.#taken.has(slot) && !this.#chosen.has(slot)) {
        this.#taken.add(slot);
        return slot;
      }
    throw new PciSlotError(`all ${PCI_SLOTS} PCI slots are taken: configure fewer devices`);
  }
}
