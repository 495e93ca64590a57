import { BusAccess } from "../../../../src/devices/bus.ts";
import type { GuestNotice } from "../../../../src/devices/notices.ts";
import type { PciFunction } from "../../../../src/devices/pci/function.ts";
import { PciSegment } from "../../../../src/devices/pci/segment.ts";
import { Bar0 } from "../../../../src/devices/virtio/transport/bar-layout.ts";
import { CommonRegister } from "../../../../src/devices/virtio/transport/common-config.ts";
import type { VirtioDevice } from "../../../../src/devices/virtio/transport/device.ts";
import { TransportBlock, vectorsOf } from "../../../../src/devices/virtio/transport/state.ts";
import { VirtioPciFunction } from "../../../../src/devices/virtio/transport/virtio-pci.ts";
import type { VirtioPciWiring } from "../../../../src/devices/virtio/transport/wiring.ts";
import { createEventFd, drainEventFd } from "../../../../src/host/eventfd.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import type { GuestMemory } from "../../../../src/memory/guest-memory.ts";
import { refTo } from "../../../../src/threads/block-ref.ts";
import { ThreadControl } from "../../../../src/threads/control.ts";
import { RingDriver } from "./ring-driver.ts";

export const M32 = { base: 0xc000_0000, length: 0x2800_0000 };
export const M64 = { base: 0x40_0000_0000, length: 0x40_0000_0000 };
export const BAR = 0xe7f8_0000;
/** Where the MSI-X capability of a device with configuration lies. */
export const MSIX_CAP = 0x98;

const access = new BusAccess();

/** Fuzzing makes accesses by the million: nothing is allocated for one. */
function setAccess(offset: number, size: number, lo: number, hi: number): void {
  access.offset = offset;
  access.size = size;
  access.lo = lo;
  access.hi = hi;
}

/** A virtio-pci device with everything around it but a hypervisor, and a driver that uses its registers. */
export class TransportRig {
  readonly device: VirtioDevice;
  readonly memory: GuestMemory;
  readonly wiring: VirtioPciWiring;
  /** The control of the thread that serves the queues; here nobody, unless the test makes one. */
  readonly control: ThreadControl;
  readonly controlBlock = mapAnonymous(ThreadControl.size);
  /** Doorbells by guest address. */
  readonly ioEventFds = new Map<number, number>();
  readonly routes = new Map<number, string>();
  readonly notices: GuestNotice[] = [];
  readonly front: VirtioPciFunction;

  constructor(device: VirtioDevice, memory: GuestMemory) {
    this.device = device;
    this.memory = memory;
    this.control = new ThreadControl(this.controlBlock);
    this.control.open();
    const queues = device.queueSizes.length;
    this.wiring = {
      id: "_test0",
      block: refTo(mapAnonymous(TransportBlock.sizeOf(device))),
      bar: { kind: "memory32", address: BAR },
      vectors: Array.from({ length: vectorsOf(queues) }, (_, i) => ({ gsi: 24 + i, eventFd: createEventFd() })),
      queues: device.queueSizes.map(() => ({ doorbell: createEventFd(), control: refTo(this.controlBlock) })),
    };
    this.front = this.newFront();
    this.front.reset();
  }

  /** The device as another thread sees it. */
  newFront(): VirtioPciFunction {
    const block = refTo(mapAnonymous(PciSegment.blockSize));
    const segment = new PciSegment({ number: 0, block, memory32: M32, memory64: M64 });
    const { ioEventFds, routes } = this;
    const front = new VirtioPciFunction(this.device, this.wiring, {
      mover: segment,
      router: {
        route: (gsi, lo, hi, data) => routes.set(gsi, `${lo.toString(16)} ${hi} ${data}`),
        unroute: (gsi) => routes.delete(gsi),
      },
      notify: (notice) => this.notices.push(notice),
      ioEventFds: {
        assign: (gpa, fd) => {
          if (ioEventFds.has(gpa)) throw new Error(`an ioeventfd is at 0x${gpa.toString(16)} already`);
          ioEventFds.set(gpa, fd);
        },
        deassign: (gpa, fd) => {
          if (ioEventFds.get(gpa) !== fd) throw new Error(`no such ioeventfd at 0x${gpa.toString(16)}`);
          ioEventFds.delete(gpa);
        },
      },
    });
    segment.add(1, front);
    return front;
  }

  read(offset: number, size = 4, front: PciFunction = this.front): number {
    setAccess(offset, size, 0xffff_ffff, 0xffff_ffff);
    front.readBar(0, access);
    return size >= 4 ? access.lo : access.lo % 2 ** (8 * size);
  }

  write(offset: number, value: number, size = 4, hi = 0): void {
    setAccess(offset, size, value, hi);
    this.front.writeBar(0, access);
  }

  get status(): number {
    return this.read(CommonRegister.DEVICE_STATUS, 1);
  }

  set status(value: number) {
    this.write(CommonRegister.DEVICE_STATUS, value, 1);
  }

  /** What the device offers. */
  offered(): [lo: number, hi: number] {
    return [0, 1].map((select) => {
      this.write(CommonRegister.DEVICE_FEATURE_SELECT, select);
      return this.read(CommonRegister.DEVICE_FEATURE);
    }) as [number, number];
  }

  /** Writes driver features. */
  accept(lo: number, hi: number): void {
    this.write(CommonRegister.DRIVER_FEATURE_SELECT, 0);
    this.write(CommonRegister.DRIVER_FEATURE, lo);
    this.write(CommonRegister.DRIVER_FEATURE_SELECT, 1);
    this.write(CommonRegister.DRIVER_FEATURE, hi);
  }

  /** MSI-X on: vector 0 for the configuration, i + 1 for queue i. */
  openInterrupts(): void {
    const { length } = this.wiring.vectors;
    for (let vector = 0; vector < length; vector++) {
      this.write(Bar0.MSIX_TABLE + 16 * vector, 0xfee0_0000);
      this.write(Bar0.MSIX_TABLE + 16 * vector + 8, 0x40 + vector);
      this.write(Bar0.MSIX_TABLE + 16 * vector + 12, 0);
    }
    const cap = this.device.config.length > 0 ? MSIX_CAP : MSIX_CAP - 16;
    this.front.writeConfig(cap + 2, 2, 0x8000);
  }

  /** Tells the device of a queue's rings and enables it. */
  enableQueue({ setup }: RingDriver): void {
    this.write(CommonRegister.QUEUE_SELECT, setup.index, 2);
    this.write(CommonRegister.QUEUE_SIZE, setup.size, 2);
    this.write(CommonRegister.QUEUE_MSIX_VECTOR, setup.index + 1, 2);
    this.write(CommonRegister.QUEUE_DESC, setup.descriptorArea % 2 ** 32);
    this.write(CommonRegister.QUEUE_DESC + 4, Math.floor(setup.descriptorArea / 2 ** 32));
    this.write(CommonRegister.QUEUE_DRIVER, setup.driverArea % 2 ** 32, 8, Math.floor(setup.driverArea / 2 ** 32));
    this.write(CommonRegister.QUEUE_DEVICE, setup.deviceArea % 2 ** 32, 8, Math.floor(setup.deviceArea / 2 ** 32));
    this.write(CommonRegister.QUEUE_ENABLE, 1, 2);
  }

  /** Brings the device up to DRIVER_OK, all offered features accepted. @returns the driver's sides of the queues */
  start(
    sizes: readonly number[] = this.device.queueSizes,
    base: number = this.memory.regions[0]?.gpa ?? 0,
  ): RingDriver[] {
    const offered = this.offered();
    this.status = 1;
    this.status = 3;
    this.accept(...offered);
    this.status = 11;
    this.write(CommonRegister.CONFIG_MSIX_VECTOR, 0, 2);
    const eventIdx = (offered[0] & (1 << 29)) !== 0;
    let at = base;
    const rings = sizes.map((size, i) => {
      const { gpa = 0, size: bytes = 0 } = this.memory.regions[0] ?? {};
      const ring = new RingDriver(this.memory, at, size, eventIdx, i);
      this.memory.write(at, new Uint8Array(Math.min(ring.end - at, gpa + bytes - at)));
      at = ring.end;
      this.enableQueue(ring);
      return ring;
    });
    this.status = 15;
    return rings;
  }

  /** Notifies the device about a queue, as KVM does. */
  ring(queue: number): void {
    this.write(Bar0.NOTIFY + 4 * queue, queue, 2);
  }

  /** Whether a vector was raised since the last call. */
  raised(vector: number): boolean {
    const irqfd = this.wiring.vectors[vector];
    if (irqfd === undefined) throw new Error(`no vector ${vector}`);
    return drainEventFd(irqfd.eventFd);
  }

  /** Whether the back end's thread was woken since the last call. */
  woken(): boolean {
    return drainEventFd(this.control.wakeFd);
  }
}
