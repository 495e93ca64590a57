import type { BlockRef } from "../../../threads/block-ref.ts";
import type { Irqfd } from "../../lines.ts";
import type { BarKind } from "../../pci/bar.ts";

/** A virtio-pci device as plain data: what any thread needs to make its side of it. */
export interface VirtioPciWiring {
  /** The device's id, for messages. */
  readonly id: string;
  /** `TransportBlock.sizeOf(device)` bytes. */
  readonly block: BlockRef;
  /** BAR 0 at power-on. */
  readonly bar: { readonly kind: BarKind; readonly address: number };
  /** `vectorsOf(queues)` of them. */
  readonly vectors: readonly Irqfd[];
  /** By queue number. */
  readonly queues: readonly QueueWiring[];
}

/** A queue's connections. */
export interface QueueWiring {
  /** The eventfd that the guest's notifications signal. */
  readonly doorbell: number;
  /** The opened `ThreadControl` of the thread that serves the queue. */
  readonly control: BlockRef;
}
