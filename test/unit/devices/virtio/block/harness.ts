import type { Disk } from "../../../../../src/block/disk.ts";
import type { OpenedImage, RawImage } from "../../../../../src/block/disk-image.ts";
import { fileTopology } from "../../../../../src/block/topology.ts";
import type { RateGate } from "../../../../../src/devices/rate-limit/rate-gate.ts";
import { BlockQueue } from "../../../../../src/devices/virtio/block/block-queue.ts";
import { BlockThread } from "../../../../../src/devices/virtio/block/block-thread.ts";
import { type BlockSettings, blockDevice } from "../../../../../src/devices/virtio/block/device.ts";
import { BlockFeature } from "../../../../../src/devices/virtio/block/protocol.ts";
import { BackEnd } from "../../../../../src/devices/virtio/transport/back-end.ts";
import { featureWords, VirtioFeature } from "../../../../../src/devices/virtio/transport/features.ts";
import { QueueHandover } from "../../../../../src/devices/virtio/transport/handover.ts";
import { DeviceStatus, TransportBlock } from "../../../../../src/devices/virtio/transport/state.ts";
import type { VirtioPciWiring } from "../../../../../src/devices/virtio/transport/wiring.ts";
import { Epoll } from "../../../../../src/host/epoll.ts";
import { createEventFd, drainEventFd } from "../../../../../src/host/eventfd.ts";
import { libc } from "../../../../../src/host/libc.ts";
import { mapAnonymous } from "../../../../../src/host/mmap.ts";
import type { GuestMemory } from "../../../../../src/memory/guest-memory.ts";
import { refTo } from "../../../../../src/threads/block-ref.ts";
import { ThreadControl, ThreadRequest } from "../../../../../src/threads/control.ts";
import { type Buffer, RingDriver } from "../ring-driver.ts";
import { testMemory } from "../test-memory.ts";

export const SECTOR = 512;
export const RAM_BYTES = 16 << 20;
/** Where chains built by `Guest` put headers, data and status. */
const HEADERS = 0x10_0000;
export const STATUSES = 0x11_0000;
export const DATA = 0x20_0000;

/** An image for disks that are not files. */
export const image = (sectors: number, overrides: Partial<RawImage> = {}): RawImage => ({
  kind: "raw",
  fd: -1,
  cachedFd: -1,
  isDevice: false,
  readonly: false,
  size: sectors * SECTOR,
  alignment: 1,
  endsInZeroes: false,
  topology: fileTopology(SECTOR),
  canBeSparse: true,
  canBeResized: true,
  ...overrides,
});

export const settings = (of: OpenedImage, overrides: Partial<BlockSettings> = {}): BlockSettings => ({
  image: of,
  engines: ["io_uring", "synchronous"],
  queues: 1,
  queueSize: 64,
  sparse: true,
  serial: new TextEncoder().encode("serial-of-20-bytes.."),
  protectFirstSector: false,
  gates: undefined,
  ...overrides,
});

/** A block device with one queue, and its driver: the driver's side of what `serveBlockQueues` is given. */
export class Guest {
  readonly memory: GuestMemory = testMemory({ gpa: 0, size: RAM_BYTES });
  readonly driver: RingDriver;
  readonly wiring: VirtioPciWiring;
  readonly control: ThreadControl;
  readonly shared: TransportBlock;
  readonly settings: BlockSettings;
  /** What its requests have to pass. */
  gate: RateGate | undefined;
  readonly #handover: QueueHandover;
  readonly #fds: number[];
  #requests = 0;

  constructor(of: BlockSettings, eventIdx = false) {
    this.settings = of;
    const device = blockDevice(of);
    const controlBlock = mapAnonymous(ThreadControl.size);
    this.control = new ThreadControl(controlBlock);
    this.control.open();
    this.#fds = [createEventFd(), createEventFd(), createEventFd()];
    const [doorbell = -1, ...vectors] = this.#fds;
    this.wiring = {
      id: "_disk0",
      block: refTo(mapAnonymous(TransportBlock.sizeOf(device))),
      bar: { kind: "memory64", address: 0 },
      vectors: vectors.map((eventFd, i) => ({ gsi: 24 + i, eventFd })),
      queues: [{ doorbell, control: refTo(controlBlock) }],
    };
    this.shared = new TransportBlock(device, this.wiring.block);
    this.shared.config.set(device.config);
    this.#handover = new QueueHandover(this.shared);
    this.driver = new RingDriver(this.memory, 0x1000, of.queueSize, eventIdx);
    this.enableInterrupts();
  }

  get doorbell(): number {
    return this.#fds[0] ?? -1;
  }

  /** What a driver does up to DRIVER_OK. */
  start(features: readonly number[] = [BlockFeature.FLUSH, BlockFeature.CONFIG_WCE]): void {
    const { state } = this.shared;
    const { setup } = this.driver;
    const words = featureWords(setup.eventIdx ? [...features, VirtioFeature.EVENT_IDX] : features);
    state.driverFeatures.set([words.lo, words.hi]);
    const [queue] = state.queues;
    if (queue === undefined) throw new Error("no queue");
    state.configVector = 0;
    Atomics.store(state.status, 0, DeviceStatus.DRIVER_OK);
    Object.assign(queue, { size: setup.size, enabled: 1, vector: 1 });
    queue.positions.fill(0);
    queue.descriptorArea.set([setup.descriptorArea, 0]);
    queue.driverArea.set([setup.driverArea, 0]);
    queue.deviceArea.set([setup.deviceArea, 0]);
    this.driver.startAt(0);
    this.#handover.offer(0, this.control);
  }

  /** A device reset, up to where the driver waits for it. */
  reset(): void {
    this.#handover.recall(0, this.control);
  }

  /** Waits for the end of a reset. */
  awaitReset(timeoutMs: number): boolean {
    return this.#handover.awaitReturn(0, this.control, timeoutMs);
  }

  get isReset(): boolean {
    return this.#handover.awaitReturn(0, this.control, 0);
  }

  get needsReset(): boolean {
    return (Atomics.load(this.shared.state.status, 0) & DeviceStatus.NEEDS_RESET) !== 0;
  }

  /** MSI-X on, every vector open. */
  enableInterrupts(): void {
    Atomics.store(this.shared.state.msix.control, 0, 0x8000);
  }

  /** Sleeps until the device raises the queue's interrupt (1) or that of a change of configuration (0). */
  awaitInterrupt(vector: 0 | 1, timeoutMs: number): void {
    const epoll = new Epoll();
    const fd = this.#fds[1 + vector] ?? -1;
    epoll.add(fd, 0);
    const deadline = performance.now() + timeoutMs;
    let raised = 0;
    // A signal ends a wait early.
    while (raised === 0 && performance.now() < deadline) raised = epoll.wait(timeoutMs, () => undefined);
    epoll.close();
    if (raised === 0) throw new Error(`no interrupt ${vector} within ${timeoutMs} ms`);
    drainEventFd(fd);
  }

  /** Whether the queue's interrupt was raised since the last call. */
  interrupted(): boolean {
    return drainEventFd(this.#fds[2] ?? -1);
  }

  /** Makes a request available: header, `buffers`, status. @returns where its status will be */
  request(type: number, sector: number, ...buffers: readonly Buffer[]): number {
    const slot = this.#requests++ % this.driver.size;
    const header = new DataView(new ArrayBuffer(16));
    header.setUint32(0, type, true);
    header.setBigUint64(8, BigInt(sector), true);
    this.memory.write(HEADERS + slot * 16, new Uint8Array(header.buffer));
    const status = STATUSES + slot;
    this.memory.writeU8(status, 0xff);
    const head = this.driver.add({ address: HEADERS + slot * 16, length: 16 }, ...buffers, {
      address: status,
      length: 1,
      writable: true,
    });
    if (head === undefined) throw new Error("too few descriptors");
    return status;
  }

  /** A request to discard or zero. */
  clear(type: number, sector: number, sectors: number, flags: number): number {
    const slot = DATA + 0x10_0000 + (this.#requests % this.driver.size) * 16;
    const segment = new DataView(new ArrayBuffer(16));
    segment.setBigUint64(0, BigInt(sector), true);
    segment.setUint32(8, sectors, true);
    segment.setUint32(12, flags, true);
    this.memory.write(slot, new Uint8Array(segment.buffer));
    return this.request(type, 0, { address: slot, length: 16 });
  }

  /** Bytes of guest memory. */
  read(gpa: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.memory.read(gpa, bytes);
    return bytes;
  }

  close(): void {
    this.control.close();
    for (const fd of this.#fds) libc.close(fd);
  }
}

/** A disk that does the next step of a test whenever its user goes to sleep with nothing under way, and then stops it. */
export class SteppedDisk implements Disk {
  readonly #disk: Disk;
  readonly #steps: (() => void)[];
  readonly #stop: () => void;
  sleeps = 0;

  constructor(disk: Disk, steps: readonly (() => void)[], stop: () => void) {
    this.#disk = disk;
    this.#steps = [...steps];
    this.#stop = stop;
  }
  get tags(): number {
    return this.#disk.tags;
  }
  get underWay(): number {
    return this.#disk.underWay;
  }
  get tag(): number {
    return this.#disk.tag;
  }
  get error(): number {
    return this.#disk.error;
  }
  segments(tag: number): Uint32Array {
    return this.#disk.segments(tag);
  }
  read(tag: number, offset: number, length: number, count: number): void {
    this.#disk.read(tag, offset, length, count);
  }
  write(tag: number, offset: number, length: number, count: number): void {
    this.#disk.write(tag, offset, length, count);
  }
  flush(tag: number): void {
    this.#disk.flush(tag);
  }
  discard(tag: number, offset: number, length: number): void {
    this.#disk.discard(tag, offset, length);
  }
  writeZeroes(tag: number, offset: number, length: number, mayUnmap: boolean): void {
    this.#disk.writeZeroes(tag, offset, length, mayUnmap);
  }
  watch(eventFd: number): void {
    this.#disk.watch(eventFd);
  }
  wait(block: boolean): void {
    if (this.#disk.underWay > 0 || !block) {
      this.#disk.wait(block);
      return;
    }
    this.sleeps++;
    const step = this.#steps.shift();
    if (step === undefined) this.#stop();
    else step();
  }
  next(): boolean {
    return this.#disk.next();
  }
  close(): void {
    this.#disk.close();
  }
}

/** Serves the guest's queue on this thread: each step runs when the device sleeps, and after the last it is stopped. */
export function serve(guest: Guest, disk: Disk, ...steps: readonly (() => void)[]): void {
  const backEnd = new BackEnd(blockDevice(guest.settings), guest.wiring, guest.memory);
  const [queue] = backEnd.queues;
  if (queue === undefined) throw new Error("no queue");
  const stepped = new SteppedDisk(disk, steps, () => guest.control.ask(ThreadRequest.STOP));
  const served = new BlockQueue(backEnd, queue, guest.settings, stepped, guest.memory, guest.gate);
  new BlockThread([served], stepped, guest.control).run();
}

/** A disk that does nothing but record what is asked of it; the test says when and how it ends. */
export class RecordingDisk implements Disk {
  readonly tags: number;
  underWay = 0;
  tag = 0;
  error = 0;
  readonly asked: string[] = [];
  readonly #tables: Uint32Array[];
  /** Started and not ended, in order. */
  readonly #waiting: number[] = [];
  readonly #ended: [number, number][] = [];
  /** Ends requests by itself when somebody waits for them. */
  automatic = true;
  /** Errors of the next requests. */
  errors: number[] = [];

  constructor(tags = 16) {
    this.tags = tags;
    this.#tables = Array.from({ length: tags }, () => new Uint32Array(64 * 4));
  }
  segments(tag: number): Uint32Array {
    return this.#tables[tag] ?? new Uint32Array(0);
  }
  read(tag: number, offset: number, length: number, count: number): void {
    this.#start(tag, `read ${offset} ${length} ${this.#lengths(tag, count)}`);
  }
  write(tag: number, offset: number, length: number, count: number): void {
    this.#start(tag, `write ${offset} ${length} ${this.#lengths(tag, count)}`);
  }
  flush(tag: number): void {
    this.#start(tag, "flush");
  }
  discard(tag: number, offset: number, length: number): void {
    this.#start(tag, `discard ${offset} ${length}`);
  }
  writeZeroes(tag: number, offset: number, length: number, mayUnmap: boolean): void {
    this.#start(tag, `zero ${offset} ${length} ${mayUnmap}`);
  }
  watch(): void {}
  wait(): void {
    if (this.automatic) while (this.#waiting.length > 0) this.end();
  }
  /** Ends the request that was started first. */
  end(error = this.errors.shift() ?? 0): void {
    const tag = this.#waiting.shift();
    if (tag !== undefined) this.#ended.push([tag, error]);
  }
  next(): boolean {
    const ended = this.#ended.shift();
    if (ended === undefined) return false;
    [this.tag, this.error] = ended;
    this.underWay--;
    return true;
  }
  close(): void {}

  #start(tag: number, what: string): void {
    if (this.#waiting.includes(tag)) throw new Error(`tag ${tag} is under way`);
    this.underWay++;
    this.#waiting.push(tag);
    this.asked.push(what);
  }
  #lengths(tag: number, count: number): string {
    return Array.from({ length: count }, (_, i) => this.segments(tag)[i * 4 + 2]).join("+");
  }
}
