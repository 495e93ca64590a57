import { signalEventFd } from "../../../host/eventfd.ts";
import { blockAt } from "../../../threads/block-ref.ts";
import { ThreadControl } from "../../../threads/control.ts";
import { guestLogger } from "../../../threads/log.ts";
import { BusAccess } from "../../bus.ts";
import type { StatefulDevice } from "../../device.ts";
import type { IoEventFds } from "../../io-event-fds.ts";
import type { MsiRouter } from "../../lines.ts";
import type { NoticeListener } from "../../notices.ts";
import type { AddressRange, Bar, BarMover } from "../../pci/bar.ts";
import { ConfigSpace, part } from "../../pci/config-space.ts";
import type { PciFunction } from "../../pci/function.ts";
import { Msix, pendingBytes, tableBytes } from "../../pci/msix.ts";
import { Bar0, CfgWindow, type VirtioConfigLayout, virtioConfigLayout } from "./bar-layout.ts";
import { CommonConfig, CommonRegister } from "./common-config.ts";
import type { VirtioDevice } from "./device.ts";
import { featureWords, VirtioFeature } from "./features.ts";
import { QueueHandover } from "./handover.ts";
import { needReset, notifyConfigChange } from "./notifications.ts";
import { DeviceStatus, TransportBlock, type TransportState } from "./state.ts";
import type { VirtioPciWiring } from "./wiring.ts";

const log = guestLogger("virtio");

/** How long a vCPU waits for the back end at a reset. Afterwards the driver sees the reset by polling (4.1.4.3.2). */
const RESET_PATIENCE_MS = 1000;
/** How long it waits at each poll, so that a polling driver does not spin. */
const POLL_PATIENCE_MS = 10;

const READY = DeviceStatus.ACKNOWLEDGE | DeviceStatus.DRIVER | DeviceStatus.DRIVER_OK | DeviceStatus.FEATURES_OK;

/** The parts of the host that the device reaches. */
export interface VirtioPciHost {
  readonly mover: BarMover;
  readonly router: MsiRouter;
  readonly ioEventFds: IoEventFds;
  readonly notify: NoticeListener;
}

/**
 * The guest's side of a virtio device on PCI (VIRTIO 1.3, 4.1), modern interface only: configuration space, registers and
 * interrupts in BAR 0, feature negotiation, and the handover of queues to the back end.
 */
export class VirtioPciFunction implements PciFunction, StatefulDevice {
  readonly bars: readonly Bar[];
  readonly memory: AddressRange | undefined;
  readonly #wiring: VirtioPciWiring;
  readonly #device: VirtioDevice;
  readonly #host: VirtioPciHost;
  readonly #shared: TransportBlock;
  readonly #state: TransportState;
  readonly #layout: VirtioConfigLayout;
  readonly #pci: ConfigSpace;
  readonly #msix: Msix;
  readonly #common: CommonConfig;
  readonly #handover: QueueHandover;
  readonly #threads: readonly ThreadControl[];
  readonly #hasFeature = (bit: number): boolean => this.hasFeature(bit);
  /** The access that goes through the window in configuration space. */
  readonly #window = new BusAccess();

  /** @throws RangeError when wiring and device do not match */
  constructor(device: VirtioDevice, wiring: VirtioPciWiring, host: VirtioPciHost) {
    const queues = device.queueSizes.length;
    if (wiring.queues.length !== queues)
      throw new RangeError(`${wiring.id}: ${wiring.queues.length} of ${queues} queues wired`);
    this.#device = device;
    this.memory = device.memory;
    this.#wiring = wiring;
    this.#host = host;
    this.#shared = new TransportBlock(device, wiring.block);
    this.#state = this.#shared.state;
    this.#layout = virtioConfigLayout(device, wiring.bar);
    this.#pci = new ConfigSpace(this.#layout.layout, this.#state.pci, host.mover, (_, from, to) => {
      this.#detachDoorbells(from);
      this.#attachDoorbells(to);
    });
    this.bars = this.#pci.bars;
    this.#msix = new Msix(this.#state.msix, wiring.vectors, host.router);
    const offered = featureWords([...device.features, VirtioFeature.VERSION_1]);
    this.#common = new CommonConfig(this.#state, offered, device.queueSizes);
    this.#handover = new QueueHandover(this.#shared);
    this.#threads = wiring.queues.map(({ control }) => new ThreadControl(blockAt(control)));
  }

  reset(): void {
    this.disconnect();
    const state = this.#state;
    this.#pci.reset();
    this.#msix.reset();
    this.#common.reset();
    Atomics.store(state.status, 0, 0);
    Atomics.store(state.configChanged, 0, 0);
    state.generation = 0;
    state.active = 0;
    state.resetting = 0;
    this.#shared.config.set(this.#device.config);
    state.device.fill(0);
    this.#connect();
  }

  save(): Uint8Array {
    return this.#shared.block.save();
  }

  /**
   * The back end's threads may run already; they take the queues up where the saved device stood. A machine whose BARs the
   * guest has moved about is restored without a `reset` of its devices before: each would claim its power-on address,
   * which may now be another's.
   * @throws RangeError when `saved` is not a state of this device
   */
  restore(saved: Uint8Array): void {
    this.disconnect();
    const state = this.#state;
    this.#shared.block.restore(saved);
    this.#pci.validate();
    this.#msix.validate();
    this.#common.validate();
    this.#device.restored?.(state.device);
    this.#connect();
    this.#msix.connect();
    if (state.resetting !== 0) this.#finishReset();
    else if (state.active !== 0 && (Atomics.load(state.status, 0) & DeviceStatus.NEEDS_RESET) === 0)
      this.#offerQueues();
  }

  /** Takes back what the device holds of the hypervisor: doorbells and interrupt routes. */
  disconnect(): void {
    const [bar] = this.bars;
    if (bar === undefined || Atomics.exchange(this.#shared.attached, 0, 0) === 0) return;
    this.#detachDoorbells(bar.mapped);
    this.#msix.disconnect();
  }

  /**
   * Takes the device away from both sides for good: no notification reaches the back end and no interrupt the guest, and
   * back ends are asked to let go of the queues. For the main thread, when no vCPU can reach the function any more.
   */
  unplug(): void {
    this.disconnect();
    // An access that was under way at the ejection may have made a route anew.
    this.#msix.disconnect();
    this.#threads.forEach((thread, i) => {
      this.#handover.recall(i, thread);
    });
  }

  /**
   * Notifies driver and back end of every active queue, in case the other side did so while the VM was stopped. Spurious
   * notifications are harmless. After a restore, once the vCPUs have their state.
   */
  nudge(): void {
    const state = this.#state;
    if (state.active === 0) return;
    state.queues.forEach(({ enabled, vector }, i) => {
      if (enabled === 0) return;
      this.#ring(i);
      this.#msix.raise(vector);
    });
  }

  /**
   * Changes 32-bit words of the device configuration, all at once for the driver, and tells it. From any thread.
   * @param word which is the first
   * @throws RangeError where the configuration has no such words
   */
  changeConfig(word: number, ...values: readonly number[]): void {
    const { config } = this.#state;
    if (word < 0 || word + values.length > config.length)
      throw new RangeError(`${this.#wiring.id}: no configuration word ${word}`);
    const { lock } = this.#shared.block;
    lock.acquire();
    values.forEach((value, i) => {
      Atomics.store(config, word + i, value >>> 0);
    });
    notifyConfigChange(this.#state, this.#msix);
    lock.release();
  }

  /** Changes a word of the device's state that its configuration depends on, and tells the driver. From any thread. */
  changeState(word: number, value: number): void {
    const { lock } = this.#shared.block;
    lock.acquire();
    Atomics.store(this.#state.device, word, value);
    notifyConfigChange(this.#state, this.#msix);
    lock.release();
  }

  /** The live counters of each queue, as the device names them. */
  get counters(): readonly Float64Array[] {
    return this.#shared.counters;
  }

  /** A 32-bit word of the device configuration; 0 where there is none. From any thread. */
  configWord(word: number): number {
    const { config } = this.#state;
    return word >= 0 && word < config.length ? Atomics.load(config, word) : 0;
  }

  /** Sets one of the device's own words of the state and has the thread that serves `queue` look at it. From any thread. */
  tell(word: number, value: number, queue: number): void {
    Atomics.store(this.#state.device, word, value);
    this.#threads[queue]?.wake();
  }

  /** Whether the driver accepted a feature bit. */
  hasFeature(bit: number): boolean {
    return (((this.#state.driverFeatures[bit >>> 5] ?? 0) >>> (bit & 31)) & 1) !== 0;
  }

  readConfig(offset: number, size: number): number {
    const { cfgWindow, msix } = this.#layout;
    if (offset >= cfgWindow + CfgWindow.DATA && offset < cfgWindow + CfgWindow.END) return this.#readWindow(size);
    const { lock } = this.#shared.block;
    lock.acquire();
    const dword = this.#pci.dword(offset);
    lock.release();
    const value = offset >>> 2 === msix >>> 2 ? (dword & 0xffff) | (this.#msix.messageControl << 16) : dword;
    return part(value >>> 0, offset, size);
  }

  writeConfig(offset: number, size: number, value: number): void {
    const { cfgWindow, msix } = this.#layout;
    if (offset >= cfgWindow + CfgWindow.DATA && offset < cfgWindow + CfgWindow.END) {
      this.#writeWindow(size, value);
      return;
    }
    const { lock } = this.#shared.block;
    lock.acquire();
    try {
      if (offset === msix && size === 4) this.#msix.messageControl = value >>> 16;
      else if (offset === msix + 2 && size === 2) this.#msix.messageControl = value;
      else this.#pci.write(offset, size, value);
    } finally {
      lock.release();
    }
  }

  readBar(_bar: number, access: BusAccess): void {
    const { offset } = access;
    if (offset < Bar0.COMMON + Bar0.COMMON_BYTES) {
      this.#readCommon(access);
    } else if (offset === Bar0.ISR) {
      access.lo = 0;
      access.hi = 0;
    } else if (offset >= Bar0.DEVICE && offset < Bar0.DEVICE + Bar0.DEVICE_BYTES) {
      this.#readDeviceConfig(offset - Bar0.DEVICE, access);
    } else if (offset >= Bar0.MSIX_TABLE && offset < Bar0.MSIX_TABLE + tableBytes(this.#msix.count)) {
      this.#msix.readTable(offset - Bar0.MSIX_TABLE, access);
    } else if (offset >= Bar0.MSIX_PENDING && offset < Bar0.MSIX_PENDING + pendingBytes(this.#msix.count)) {
      this.#msix.readPending(offset - Bar0.MSIX_PENDING, access);
    }
  }

  writeBar(_bar: number, access: BusAccess): void {
    const { offset, size } = access;
    if (offset >= Bar0.NOTIFY && offset < Bar0.NOTIFY + Bar0.NOTIFY_BYTES) {
      this.#ring((offset - Bar0.NOTIFY) >>> 2);
      return;
    }
    const { lock } = this.#shared.block;
    lock.acquire();
    try {
      if (offset < Bar0.COMMON + Bar0.COMMON_BYTES) {
        if (offset === CommonRegister.DEVICE_STATUS) {
          if (size === 1) this.#writeStatus(access.lo);
        } else if (this.#state.resetting === 0) this.#common.write(offset, size, access.lo, access.hi);
      } else if (offset >= Bar0.DEVICE && offset < Bar0.DEVICE + Bar0.DEVICE_BYTES) {
        const at = offset - Bar0.DEVICE;
        if (at + size <= this.#shared.config.length)
          this.#device.writeConfig?.(this.#shared.config, at, size, access.lo);
      } else if (offset >= Bar0.MSIX_TABLE && offset < Bar0.MSIX_TABLE + tableBytes(this.#msix.count)) {
        this.#msix.writeTable(offset - Bar0.MSIX_TABLE, access);
      }
    } finally {
      lock.release();
    }
    if (this.#state.resetting !== 0) this.#awaitReset(RESET_PATIENCE_MS);
  }

  #readCommon(access: BusAccess): void {
    const { offset, size } = access;
    if (offset === CommonRegister.DEVICE_STATUS && this.#state.resetting !== 0) this.#awaitReset(POLL_PATIENCE_MS);
    const { lock } = this.#shared.block;
    lock.acquire();
    access.lo = this.#common.read(offset, size);
    access.hi = 0;
    lock.release();
  }

  /** The first read after a change starts a new generation (4.1.4.3.1), so that the driver reads all of it again. */
  #readDeviceConfig(offset: number, access: BusAccess): void {
    const state = this.#state;
    const { block, config } = this.#shared;
    const { size } = access;
    block.lock.acquire();
    if (Atomics.exchange(state.configChanged, 0, 0) !== 0) state.generation = (state.generation + 1) & 0xff;
    this.#device.refreshConfig?.(config, this.#hasFeature, state.device);
    if (offset + size <= config.length) {
      access.lo = littleEndian(config, offset, Math.min(size, 4));
      if (size === 8) access.hi = littleEndian(config, offset + 4, 4);
    }
    block.lock.release();
  }

  /** Access to BAR 0 through configuration space (4.1.4.9). A length of 0 does nothing. */
  #aimWindow(size: number): boolean {
    const { lock } = this.#shared.block;
    const { cfgWindow } = this.#layout;
    lock.acquire();
    const window = this.#window;
    window.offset = this.#pci.dword(cfgWindow + CfgWindow.OFFSET);
    window.size = Math.min(size, this.#pci.dword(cfgWindow + CfgWindow.LENGTH));
    lock.release();
    return window.size > 0 && window.offset + window.size <= Bar0.SIZE;
  }

  #readWindow(size: number): number {
    const window = this.#window;
    if (!this.#aimWindow(size)) return 0;
    window.lo = 0xffff_ffff;
    window.hi = 0xffff_ffff;
    this.readBar(0, window);
    return part(window.lo, 0, window.size);
  }

  #writeWindow(size: number, value: number): void {
    const window = this.#window;
    if (!this.#aimWindow(size)) return;
    window.lo = part(value, 0, window.size);
    window.hi = 0;
    this.writeBar(0, window);
  }

  #ring(queue: number): void {
    const wiring = this.#wiring.queues[queue];
    if (wiring !== undefined) signalEventFd(wiring.doorbell);
  }

  #writeStatus(value: number): void {
    const state = this.#state;
    if (state.resetting !== 0) return;
    if (value === 0) {
      this.#beginReset();
      return;
    }
    // The back end may set NEEDS_RESET at any time, and only a reset takes it away.
    let before = Atomics.load(state.status, 0);
    for (;;) {
      const seen = Atomics.compareExchange(state.status, 0, before, value | (before & DeviceStatus.NEEDS_RESET));
      if (seen === before) break;
      before = seen;
    }
    if (before !== READY && Atomics.load(state.status, 0) === READY && state.active === 0) this.#activate();
  }

  #activate(): void {
    const enabled = this.#state.queues.filter((queue) => queue.enabled !== 0).length;
    if (enabled === 0) return;
    const { minQueues } = this.#device;
    if (enabled < minQueues) {
      log.warn(`${this.#wiring.id}: the driver enabled ${enabled} queues of at least ${minQueues}`);
      needReset(this.#state, this.#msix);
      return;
    }
    this.#state.active = 1;
    this.#offerQueues();
    this.#host.notify({ kind: "virtio-device", event: "activated", id: this.#wiring.id });
  }

  #offerQueues(): void {
    this.#state.queues.forEach(({ enabled }, i) => {
      const thread = this.#threads[i];
      if (enabled !== 0 && thread !== undefined) this.#handover.offer(i, thread);
    });
  }

  /** Asks for the queues back. Until they all are, the device is resetting: registers keep their values. */
  #beginReset(): void {
    if (this.#state.active !== 0) this.#host.notify({ kind: "virtio-device", event: "reset", id: this.#wiring.id });
    this.#state.resetting = 1;
    this.#threads.forEach((thread, i) => {
      this.#handover.recall(i, thread);
    });
  }

  /** Ends the reset when the queues are back in time. Waits without the lock, so that other vCPUs are not held up. */
  #awaitReset(patienceMs: number): void {
    if (!this.#queuesBack(patienceMs)) return;
    const { lock } = this.#shared.block;
    lock.acquire();
    // Another vCPU may have ended this reset meanwhile, and even begun the next one.
    if (this.#state.resetting !== 0 && this.#queuesBack(0)) this.#finishReset();
    lock.release();
  }

  #queuesBack(patienceMs: number): boolean {
    const deadline = performance.now() + patienceMs;
    return this.#threads.every((thread, i) => this.#handover.awaitReturn(i, thread, deadline - performance.now()));
  }

  #finishReset(): void {
    const state = this.#state;
    this.#common.reset();
    this.#device.reset?.(state.device);
    Atomics.store(state.configChanged, 0, 0);
    state.active = 0;
    state.resetting = 0;
    Atomics.store(state.status, 0, 0);
  }

  #connect(): void {
    const [bar] = this.bars;
    if (bar === undefined) return;
    this.#attachDoorbells(bar.mapped);
    Atomics.store(this.#shared.attached, 0, 1);
    this.#host.mover.remapped();
  }

  /** All or none. @throws SysError */
  #attachDoorbells(bar: number): void {
    let attached = 0;
    try {
      for (const { doorbell } of this.#wiring.queues) {
        this.#host.ioEventFds.assign(doorbellAddress(bar, attached), doorbell);
        attached++;
      }
    } catch (error) {
      this.#detachDoorbells(bar, attached);
      throw error;
    }
  }

  #detachDoorbells(bar: number, count = this.#wiring.queues.length): void {
    this.#wiring.queues.slice(0, count).forEach(({ doorbell }, i) => {
      this.#host.ioEventFds.deassign(doorbellAddress(bar, i), doorbell);
    });
  }
}

const doorbellAddress = (bar: number, queue: number): number => bar + Bar0.NOTIFY + Bar0.NOTIFY_MULTIPLIER * queue;

function littleEndian(bytes: Uint8Array, offset: number, size: number): number {
  let value = 0;
  for (let i = size - 1; i >= 0; i--) value = value * 256 + (bytes[offset + i] ?? 0);
  return value;
}
