import { openSync } from "node:fs";
import { BusAccess } from "../../../src/devices/bus.ts";
import { type IoClient, IoLoop } from "../../../src/devices/io-loop.ts";
import type { PciFunction } from "../../../src/devices/pci/function.ts";
import { BarConflictError, PciSegment } from "../../../src/devices/pci/segment.ts";
import { PciHotplug } from "../../../src/devices/pci-hotplug.ts";
import { rngDevice } from "../../../src/devices/virtio/rng/device.ts";
import { Bar0 } from "../../../src/devices/virtio/transport/bar-layout.ts";
import { CommonRegister } from "../../../src/devices/virtio/transport/common-config.ts";
import { VirtioPciFunction } from "../../../src/devices/virtio/transport/virtio-pci.ts";
import { EpollEvent } from "../../../src/host/epoll.ts";
import { createEventFd, drainEventFd, signalEventFd } from "../../../src/host/eventfd.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { makeNonBlocking, receive, send, socketPair } from "../../../src/host/unix-socket.ts";
import { refTo } from "../../../src/threads/block-ref.ts";
import { ThreadControl, ThreadRequest } from "../../../src/threads/control.ts";
import { block } from "../../unit/devices/access.ts";
import { RingDriver } from "../../unit/devices/virtio/ring-driver.ts";
import { M32, M64, MSIX_CAP } from "../../unit/devices/virtio/transport-rig.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { GuardedMemory } from "../support/guarded-memory.ts";
import { HotSlot, type Server } from "../support/hot-slot.ts";
import { accessOnce } from "../support/registers.ts";

const SLOTS: readonly [number, ...number[]] = [1, 2, 3];
const SEGMENTS = 2;
const MOST_ACTS = 48;
/** Guest memory of the device in each slot: its rings, and its buffers behind them. */
const SHARE_BYTES = 0x4000;
const BUFFERS = 0x2000;
const RING_SIZE = 16;
/** The device has no configuration of its own, and so no capability for that. */
const MSIX_CONTROL = MSIX_CAP - 16 + 2;
const Register = { PLUGGED: 0, UNPLUG: 4, EJECT: 8, SEGMENT: 12 } as const;
/** Command and BARs. */
const CONFIG: readonly [number, ...number[]] = [4, 0x10, 0x14];

/** A device in its slot, and how far it is on its way out. */
interface Present {
  readonly fn: VirtioPciFunction;
  readonly server: Server;
  readonly client: IoClient;
  stage: "here" | "ejected" | "leaving" | "left";
  driver: RingDriver | undefined;
  /** What a vCPU found before the ejection. */
  found: PciFunction | undefined;
}

/** Acts from a driver that starts to a device that is gone. */
const lifeOf = (slot: number, notified: number): readonly number[] => [
  ...[4, slot],
  ...[5, slot, 1, 0, 0, 40, 64, 0, 40, notified],
  ...[1, slot, 2, slot, 0, 4, 0],
  ...[3, slot, 0],
  ...[10, slot, 1, 1, 0, 1],
  ...[7, slot, 1, slot, 7, slot, 7, slot],
  ...[6, slot, 12, 1, 9, 1, slot],
];

export const target: FuzzTarget = {
  what: "hot-plug: devices that come, are asked for, ejected and let go in any order, with requests under way",
  maxBytes: 512,
  seeds: () => [
    Uint8Array.from([7, 0, 0, 0, ...SLOTS.flatMap((_, slot) => lifeOf(slot, 0))]),
    Uint8Array.from([7, 1, 1, 1, ...SLOTS.flatMap((_, slot) => lifeOf(slot, 1))]),
    Uint8Array.from([0, ...SLOTS.flatMap((_, slot) => [0, slot, 0, ...lifeOf(slot, 0)])]),
  ],
  open: () => {
    const stage = new Stage();
    return (input) => stage.play(input);
  },
};

class Stage {
  readonly #ram = new GuardedMemory((SLOTS.length + 1) * SHARE_BYTES);
  readonly #sharedControl = mapAnonymous(ThreadControl.size);
  readonly #control = new ThreadControl(this.#sharedControl);
  readonly #turn = createEventFd();
  readonly #segmentBlock = block(PciSegment.blockSize);
  readonly #hotplug = new PciHotplug(block(PciHotplug.blockSize), SEGMENTS, (segment, slot) =>
    this.#eject(segment, slot),
  );
  readonly #slots: readonly HotSlot[];
  readonly #entropy: readonly [number, number];
  readonly #ioEventFds = new Map<number, number>();
  readonly #routes = new Set<number>();
  readonly #access = new BusAccess();
  #present = new Map<number, Present>();
  /** By slot, the guest's memory when a device had left it. */
  readonly #quiet = new Map<number, Uint8Array>();
  #vmm = this.#segment();
  #vcpu = this.#segment();

  constructor() {
    this.#control.open();
    // It has something to be read after every act.
    signalEventFd(this.#turn);
    const [ours, theirs] = socketPair();
    for (const fd of [ours, theirs]) makeNonBlocking(fd);
    this.#entropy = [ours, theirs];
    const zero = openSync("/dev/zero", "r");
    this.#slots = SLOTS.map((slot) => new HotSlot(slot, refTo(this.#sharedControl), slot === 2 ? ours : zero));
  }

  play(input: Input): void {
    this.#ram.clear();
    this.#segmentBlock.u8.fill(0);
    this.#hotplug.reset();
    this.#ioEventFds.clear();
    this.#routes.clear();
    this.#present = new Map();
    this.#quiet.clear();
    this.#vmm = this.#segment();
    this.#vcpu = this.#segment();
    for (const { doorbell } of this.#slots) drainEventFd(doorbell);
    while ((receive(this.#entropy[0])?.bytes.length ?? 0) > 0);
    this.#control.ask(ThreadRequest.RUN);
    const loop = new IoLoop(this.#control);
    const atBoot = input.u8();
    for (const slot of this.#slots) if ((atBoot & slot.slot) !== 0) this.#plug(slot, "shared", loop, input.bool());
    let acts = 0;
    loop
      .watch(this.#turn, () => {
        if (acts++ < MOST_ACTS && !input.isEmpty) this.#act(input);
        else this.#control.ask(ThreadRequest.STOP);
      })
      .set(EpollEvent.IN);
    loop.run();
    for (const { loop } of this.#slots) {
      loop.settle();
      loop.renew();
    }
    for (const [slot, bytes] of this.#quiet)
      if (Buffer.compare(this.#share(slot), bytes) !== 0)
        throw new Error(`slot ${slot} writes after its device has left`);
    drainEventFd(this.#control.wakeFd);
  }

  #act(input: Input): void {
    const act = input.below(14);
    const slot = this.#slots[input.below(this.#slots.length)];
    if (slot === undefined) return;
    const present = this.#present.get(slot.slot);
    switch (act) {
      case 0:
        if (present !== undefined) break;
        slot.loop.renew();
        this.#plug(slot, "own", slot.loop, input.bool());
        break;
      case 1:
        this.#hotplug.requestEject(0, slot.slot);
        break;
      case 2:
        accessOnce(input, { device: this.#hotplug, length: 16, widest: 8, places: [0, 4, 12] });
        break;
      case 3:
        if (present?.stage === "here") present.found = this.#vcpu.at(slot.slot);
        this.#write(this.#hotplug, Register.EJECT, input.below(8) === 1 ? input.edge(32) : 1 << slot.slot);
        break;
      case 4:
        if (present?.stage === "here") this.#start(slot, present);
        break;
      case 5:
        if (present?.stage === "here") offer(input, slot, present);
        break;
      case 6:
        signalEventFd(slot.doorbell);
        break;
      case 7:
      case 8:
        if (present !== undefined) this.#advance(slot, present);
        break;
      case 9: {
        const fn = this.#vcpu.at(slot.slot);
        const at = input.pick(CONFIG);
        if (input.bool()) fn?.writeConfig(at, 4, at === 4 ? input.below(8) : M32.base + 0x8_0000 * input.below(12));
        else fn?.readConfig(at, 4);
        break;
      }
      case 10:
        this.#useInterrupts(
          input,
          present?.stage === "here" || present?.stage === "ejected" ? present.found : undefined,
        );
        break;
      case 11:
        if (present?.stage === "here") this.#reset(slot, present);
        break;
      case 12:
        send(this.#entropy[1], new Uint8Array(1 + input.below(100)));
        break;
      default:
        if (this.#present.get(slot.slot)?.server === "own") slot.loop.settle();
    }
    this.#check(slot);
  }

  #plug(slot: HotSlot, server: Server, loop: IoLoop, isLimited: boolean): void {
    slot.clear();
    this.#quiet.delete(slot.slot);
    const fn = this.#function(slot.wirings[server], this.#vmm);
    const make = (): IoClient => slot.serve(server, loop, this.#ram.memory, isLimited);
    let client: IoClient | undefined;
    const onLeft = (): void => {
      const present = this.#present.get(slot.slot);
      if (present?.stage !== "leaving") throw new Error(`slot ${slot.slot} has left unasked`);
      present.stage = "left";
    };
    if (server === "own") client = make();
    else
      loop.addRemovable(
        () => {
          client = make();
          return client;
        },
        slot.departure,
        onLeft,
      );
    if (client === undefined) throw new Error("nobody serves the device");
    try {
      this.#vmm.plug(slot.slot, fn, slot.encoded[server], () => fn.reset());
    } catch (error) {
      if (!(error instanceof BarConflictError)) throw error;
      slot.loop.renew();
      return;
    }
    if (server === "own") this.#hotplug.plugged(0, slot.slot);
    this.#present.set(slot.slot, { fn, server, client, stage: "here", driver: undefined, found: undefined });
  }

  /** The guest gives a slot up, as a vCPU hears of it. */
  #eject(segment: number, slot: number): void {
    if (segment !== 0 || !this.#vcpu.eject(slot)) return;
    const present = this.#present.get(slot);
    if (present?.stage !== "here") throw new Error(`slot ${slot} is ejected, and there is nothing`);
    present.stage = "ejected";
    present.driver = undefined;
  }

  /** What the VMM does next for a device that the guest has given up. */
  #advance(slot: HotSlot, present: Present): void {
    switch (present.stage) {
      case "ejected":
        present.found = undefined;
        present.fn.unplug();
        present.stage = "leaving";
        slot.departure.ask();
        slot.control(present.server).wake();
        break;
      case "leaving":
        if (present.server === "shared") break;
        present.client.pause();
        present.client.close?.();
        slot.loop.renew();
        present.stage = "left";
        break;
      case "left":
        this.#hotplug.forget(0, slot.slot);
        this.#vmm.vacate(slot.slot);
        this.#present.delete(slot.slot);
        this.#quiet.set(slot.slot, this.#share(slot.slot).slice());
        if ([...this.#ioEventFds.values()].includes(slot.doorbell)) throw new Error("a doorbell is left behind");
        for (const { gsi } of slot.wirings.own.vectors)
          if (this.#routes.has(gsi)) throw new Error("an interrupt is left behind");
    }
  }

  /** Every thread sees what is there. */
  #check({ slot }: HotSlot): void {
    const isHere = this.#present.get(slot)?.stage === "here";
    for (const segment of [this.#vmm, this.#vcpu])
      if ((segment.at(slot) !== undefined) !== isHere) throw new Error(`slot ${slot} is not as it should be`);
  }

  /** A driver finds the device. */
  #start(slot: HotSlot, present: Present): void {
    const fn = this.#vcpu.at(slot.slot);
    if (fn === undefined) return;
    this.#reset(slot, present);
    const bar = { write: (access: BusAccess) => fn.writeBar(0, access) };
    const write = (offset: number, value: number, size: number): void => this.#write(bar, offset, value, size);
    const driver = new RingDriver(this.#ram.memory, baseOf(slot.slot), RING_SIZE);
    this.#ram.poke(baseOf(slot.slot), new Uint8Array(BUFFERS));
    for (const status of [1, 3]) write(CommonRegister.DEVICE_STATUS, status, 1);
    write(CommonRegister.DRIVER_FEATURE_SELECT, 1, 4);
    write(CommonRegister.DRIVER_FEATURE, 1, 4);
    write(CommonRegister.DEVICE_STATUS, 11, 1);
    write(CommonRegister.QUEUE_SELECT, 0, 2);
    write(CommonRegister.QUEUE_SIZE, RING_SIZE, 2);
    write(CommonRegister.QUEUE_MSIX_VECTOR, 1, 2);
    write(CommonRegister.QUEUE_DESC, driver.setup.descriptorArea, 4);
    write(CommonRegister.QUEUE_DRIVER, driver.setup.driverArea, 4);
    write(CommonRegister.QUEUE_DEVICE, driver.setup.deviceArea, 4);
    write(CommonRegister.QUEUE_ENABLE, 1, 2);
    write(CommonRegister.DEVICE_STATUS, 15, 1);
    driver.startAt(0);
    present.driver = driver;
    present.client.wake();
  }

  /** The thread gives the queue back as soon as it is asked: here nobody else could. */
  #reset(slot: HotSlot, present: Present): void {
    slot.handover.recall(0, slot.control(present.server));
    present.client.wake();
    present.driver = undefined;
    const fn = this.#vcpu.at(slot.slot);
    this.#write({ write: (access) => fn?.writeBar(0, access) }, CommonRegister.DEVICE_STATUS, 0, 1);
  }

  /** MSI-X on or off, by a vCPU that may have found the device before it was ejected. */
  #useInterrupts(input: Input, fn: PciFunction | undefined): void {
    if (fn === undefined) return;
    const table = { write: (access: BusAccess) => fn.writeBar(0, access) };
    this.#write(table, Bar0.MSIX_TABLE + 16 * input.below(2), 0xfee0_0000);
    this.#write(table, Bar0.MSIX_TABLE + 16 * input.below(2) + 12, input.below(2));
    fn.writeConfig(MSIX_CONTROL, 2, input.bool() ? 0x8000 : 0);
  }

  #write(device: { write(access: BusAccess): void }, offset: number, lo: number, size = 4): void {
    device.write(Object.assign(this.#access, { offset, size, lo, hi: 0 }));
  }

  #share(slot: number): Uint8Array {
    return this.#ram.memory.block(baseOf(slot), SHARE_BYTES).u8;
  }

  #segment(): PciSegment {
    const wiring = { number: 0, block: refTo(this.#segmentBlock), memory32: M32, memory64: M64 };
    const segment: PciSegment = new PciSegment(wiring, ([number = 0, server = 0]) => {
      const slot = this.#slots.find((each) => each.slot === number);
      if (slot === undefined) throw new Error(`a function of slot ${number}`);
      return this.#function(slot.wirings[server === 0 ? "shared" : "own"], segment);
    });
    return segment;
  }

  #function(wiring: HotSlot["wirings"]["own"], mover: PciSegment): VirtioPciFunction {
    return new VirtioPciFunction(rngDevice, wiring, {
      mover,
      router: { route: (gsi) => void this.#routes.add(gsi), unroute: (gsi) => void this.#routes.delete(gsi) },
      notify: () => undefined,
      ioEventFds: {
        assign: (gpa, fd) => {
          if (this.#ioEventFds.has(gpa)) throw new Error(`a doorbell is at ${gpa} already`);
          this.#ioEventFds.set(gpa, fd);
        },
        deassign: (gpa, fd) => {
          if (this.#ioEventFds.get(gpa) !== fd) throw new Error(`no such doorbell at ${gpa}`);
          this.#ioEventFds.delete(gpa);
        },
      },
    });
  }
}

const baseOf = (slot: number): number => 0x10_0000 + SHARE_BYTES * slot;

/** Makes buffers available, with or without a notification. */
function offer(input: Input, { slot, doorbell }: HotSlot, { driver }: Present): void {
  for (let count = 1 + input.below(4); count > 0; count--) {
    const address = baseOf(slot) + BUFFERS + input.below(0x1000);
    driver?.add({ address, length: 1 + input.below(64), writable: true });
  }
  if (input.bool()) signalEventFd(doorbell);
}
