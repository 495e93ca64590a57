import type { AddressRange, BarKind } from "../../devices/pci/bar.ts";
import { VirtioPciFunction } from "../../devices/virtio/transport/virtio-pci.ts";
import {
  encodeWiring,
  type FunctionWiring,
  idOf,
  isVirtio,
  type MachineFunction,
  virtioDevice,
} from "../../machine/pci-devices.ts";
import type { RamRegion } from "../../memory/guest-memory.ts";
import { type BlockRef, refTo } from "../../threads/block-ref.ts";
import type { GeneratedConfig, NewDevice } from "../control/device-kinds.ts";
import type { VmThread } from "../vm-thread.ts";
import type { PciBuilder, QueueThread } from "./builder.ts";
import { isRemovable } from "./removable.ts";

/** A device with its place in the machine, and all that it holds of the host. */
export class PlacedDevice implements Disposable {
  readonly wiring: FunctionWiring;
  /** The list of the configuration that it comes from. */
  readonly member: NewDevice["member"] | undefined;
  readonly queueThreads: readonly QueueThread[];
  /** The thread of its own that serves all its queues, if it has one. */
  readonly ioThread: VmThread | undefined;
  /** How it leaves the thread that it shares with others, if it does and may. */
  readonly departure: BlockRef | undefined;
  /** What was made up for it. */
  readonly generated: GeneratedConfig;
  /** Memory that it gives the guest. */
  readonly memory: readonly RamRegion[];
  /** The wiring in memory that all threads share. */
  readonly encoded: BlockRef;
  readonly #builder: PciBuilder;
  readonly #owned: DisposableStack;
  #fn: MachineFunction | undefined;

  /** @param owned what has to be given back when the device is gone */
  constructor(
    builder: PciBuilder,
    wiring: FunctionWiring,
    member: NewDevice["member"] | undefined,
    owned: DisposableStack,
  ) {
    const { queueThreads, ioThread, departure, generated, memory, arena } = builder;
    this.#builder = builder;
    this.wiring = wiring;
    this.member = member;
    this.queueThreads = queueThreads;
    this.ioThread = ioThread;
    this.departure = departure;
    this.generated = generated;
    this.memory = memory;
    const bytes = encodeWiring(wiring);
    const block = arena.allocate(bytes.length);
    block.u8.set(bytes);
    this.encoded = refTo(block);
    this.#owned = owned;
  }

  /** The main thread's instance of the function, once it is in its slot. */
  get fn(): MachineFunction | undefined {
    return this.#fn;
  }

  /** The function is in its slot. @param vacate frees it: for when nothing of the device is at its addresses any more */
  plugged(fn: MachineFunction, vacate: () => void): void {
    this.#fn = fn;
    this.#builder.vacate = vacate;
  }

  /** Frees the slot's addresses of a device that is gone for the guest, but keeps what it holds. */
  vacate(): void {
    this.#builder.vacate();
  }

  get id(): string {
    return idOf(this.wiring);
  }

  /** The identifier of the function that a virtio device is behind. */
  get transportId(): string | undefined {
    return isVirtio(this.wiring) ? `_virtio-pci-${this.id}` : undefined;
  }

  get slot(): number {
    return this.wiring.slot;
  }

  /** `ssss:bb:dd.f` in lower-case hexadecimal. */
  get bdf(): string {
    return `0000:00:${this.slot.toString(16).padStart(2, "0")}.0`;
  }

  /** Its own threads. */
  get threads(): readonly VmThread[] {
    return [...this.queueThreads.map(({ thread }) => thread), ...(this.ioThread === undefined ? [] : [this.ioThread])];
  }

  /** Whether the user may take it out of a running VM. */
  get isRemovable(): boolean {
    return isVirtio(this.wiring) && isRemovable(virtioDevice(this.wiring));
  }

  /** What each of its queues counts. */
  get counters(): readonly Float64Array[] {
    return this.fn instanceof VirtioPciFunction ? this.fn.counters : [];
  }

  /** The guest addresses that it takes up now. */
  get ranges(): readonly (AddressRange & { readonly kind: BarKind })[] {
    const bars = (this.fn?.bars ?? []).map(({ kind, mapped, size }) => ({ kind, base: mapped, length: size }));
    return [...bars, ...this.memory.map(({ gpa, size }) => ({ kind: "memory64" as const, base: gpa, length: size }))];
  }

  /**
   * Takes away what connects the device to the guest and to threads that serve other devices as well. No vCPU can reach it
   * any more.
   */
  unplug(): void {
    this.fn?.unplug();
  }

  [Symbol.dispose](): void {
    this.#owned.dispose();
  }
}
