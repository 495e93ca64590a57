import { describe, expect, test } from "bun:test";
import { BackEnd } from "../../../../src/devices/virtio/transport/back-end.ts";
import { Bar0 } from "../../../../src/devices/virtio/transport/bar-layout.ts";
import { CommonRegister as Register } from "../../../../src/devices/virtio/transport/common-config.ts";
import type { VirtioDevice } from "../../../../src/devices/virtio/transport/device.ts";
import { DeviceStatus, TransportBlock } from "../../../../src/devices/virtio/transport/state.ts";
import { drainEventFd } from "../../../../src/host/eventfd.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { refTo } from "../../../../src/threads/block-ref.ts";
import { testMemory } from "./test-memory.ts";
import { BAR, M64, MSIX_CAP, TransportRig } from "./transport-rig.ts";

const BASE = 0x10_0000;
const memory = testMemory({ gpa: BASE, size: 0x10_0000 });
const device: VirtioDevice = {
  type: 2,
  queueSizes: [128, 16],
  minQueues: 1,
  features: [0, 5, 28, 29],
  config: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
  writeConfig: (config, offset, size, value) => {
    if (offset === 4 && size === 1) config[4] = value;
  },
};
const bare: VirtioDevice = { type: 4, queueSizes: [256], minQueues: 1, features: [], config: new Uint8Array(0) };

describe("configuration space", () => {
  const capabilities = (rig: TransportRig): string[] => {
    const found: string[] = [];
    for (let at = rig.front.readConfig(0x34, 1); at !== 0; at = rig.front.readConfig(at + 1, 1)) {
      const bytes = Array.from(
        { length: rig.front.readConfig(at, 1) === 0x11 ? 12 : rig.front.readConfig(at + 2, 1) },
        (_, i) =>
          rig.front
            .readConfig(at + i, 1)
            .toString(16)
            .padStart(2, "0"),
      );
      found.push(`${at.toString(16)}: ${bytes.join("")}`);
    }
    return found;
  };

  test("a device with configuration", () => {
    const rig = new TransportRig(device, memory);
    expect(rig.front.readConfig(0, 4)).toBe(0x1042_1af4);
    expect(rig.front.readConfig(8, 4)).toBe(0x0180_0001);
    expect(rig.front.readConfig(0x2c, 4)).toBe(0x1042_1af4);
    expect(rig.front.readConfig(0x10, 4)).toBe(BAR);
    expect(capabilities(rig)).toEqual([
      "40: 09501001000000000000000038000000",
      "50: 09601003000000000020000001000000",
      "60: 09701004000000000040000000100000",
      "70: 0984140200000000006000000010000004000000",
      "84: 0998140500000000000000000000000000000000",
      "98: 110002000080000000800400",
    ]);
  });

  test("a device without configuration", () => {
    const rig = new TransportRig(bare, memory);
    expect(rig.front.readConfig(8, 4)).toBe(0xffff_0001);
    expect(capabilities(rig).map((text) => text.slice(0, 12))).toEqual([
      "40: 09501001",
      "50: 09601003",
      "60: 09741402",
      "74: 09881405",
      "88: 11000100",
    ]);
    expect(rig.read(Bar0.DEVICE, 4)).toBe(0xffff_ffff);
  });

  test("MSI-X control takes words at +2 and dwords at +0", () => {
    const rig = new TransportRig(device, memory);
    const control = (): number => rig.front.readConfig(MSIX_CAP + 2, 2);
    rig.front.writeConfig(MSIX_CAP + 3, 1, 0xff);
    rig.front.writeConfig(MSIX_CAP, 2, 0xffff);
    expect(control()).toBe(2);
    rig.front.writeConfig(MSIX_CAP + 2, 2, 0xffff);
    expect(control()).toBe(0xc002);
    rig.front.writeConfig(MSIX_CAP, 4, 0x8000_ffff);
    expect(rig.front.readConfig(MSIX_CAP, 4)).toBe(0x8002_0011);
  });

  test("the window reaches BAR 0: length decides, 0 does nothing, the BAR field is kept and not looked at", () => {
    const rig = new TransportRig(device, memory);
    const aim = (offset: number, length: number): void => {
      rig.front.writeConfig(0x84 + 4, 1, 3);
      rig.front.writeConfig(0x84 + 8, 4, offset);
      rig.front.writeConfig(0x84 + 12, 4, length);
    };
    aim(Bar0.DEVICE, 4);
    expect(rig.front.readConfig(0x84 + 4, 1)).toBe(3);
    expect(rig.front.readConfig(0x94, 4)).toBe(0x0403_0201);
    expect(rig.front.readConfig(0x94, 2)).toBe(0x0201);
    aim(Bar0.DEVICE, 1);
    expect(rig.front.readConfig(0x94, 4)).toBe(0x01);
    aim(Register.DEVICE_STATUS, 1);
    rig.front.writeConfig(0x94, 4, 0xffff_ff03);
    expect(rig.status).toBe(3);
    aim(Register.DEVICE_STATUS, 0);
    rig.front.writeConfig(0x94, 4, 7);
    expect(rig.status).toBe(3);
    aim(Bar0.SIZE - 1, 4);
    rig.front.writeConfig(0x94, 4, 7);
    aim(0xffff_ffff, 0xffff_ffff);
    rig.front.writeConfig(0x94, 4, 7);
    aim(Bar0.NOTIFY + 4, 2);
    rig.front.writeConfig(0x94, 2, 1);
    expect([
      drainEventFd(rig.wiring.queues[0]?.doorbell ?? -1),
      drainEventFd(rig.wiring.queues[1]?.doorbell ?? -1),
    ]).toEqual([false, true]);
  });
});

describe("common configuration", () => {
  test.each<[name: string, offset: number, size: number, write: number, expected: number]>([
    ["device_feature_select", 0x00, 4, 7, 7],
    ["device_feature is read-only", 0x04, 4, 0, 0x3000_0021],
    ["driver_feature_select", 0x08, 4, 1, 1],
    ["driver_feature reads 0", 0x0c, 4, 0xffff_ffff, 0],
    ["config_msix_vector", 0x10, 2, 0x1234, 0x1234],
    ["num_queues is read-only", 0x12, 2, 9, 2],
    ["device_status", 0x14, 1, 3, 3],
    ["config_generation is read-only", 0x15, 1, 9, 0],
    ["queue_select", 0x16, 2, 9, 9],
    ["queue_size", 0x18, 2, 64, 64],
    ["queue_size 0", 0x18, 2, 0, 128],
    ["queue_size no power of two", 0x18, 2, 100, 128],
    ["queue_size above the maximum", 0x18, 2, 256, 128],
    ["queue_msix_vector", 0x1a, 2, 0x4321, 0x4321],
    ["queue_enable 1", 0x1c, 2, 1, 1],
    ["queue_enable 2", 0x1c, 2, 2, 0],
    ["queue_notify_off is read-only", 0x1e, 2, 5, 0],
    ["ring addresses read 0", 0x20, 4, 0x1000, 0],
    ["two bytes of a dword", 0x00, 2, 7, 0],
    ["four bytes of a word", 0x10, 4, 0, 0],
    ["two bytes of the status", 0x14, 2, 3, 0],
    ["eight bytes", 0x00, 8, 7, 0],
    ["in between", 0x02, 2, 7, 0],
  ])("%s", (_name, offset, size, write, expected) => {
    const rig = new TransportRig(device, memory);
    rig.write(offset, write, size);
    expect(rig.read(offset, size)).toBe(expected);
  });

  test("a queue that does not exist reads as none and takes nothing", () => {
    const rig = new TransportRig(device, memory);
    const queue = (): number[] => [0x18, 0x1a, 0x1c, 0x1e].map((offset) => rig.read(offset, 2));
    rig.write(Register.QUEUE_SELECT, 2, 2);
    for (const offset of [0x18, 0x1a, 0x1c]) rig.write(offset, 1, 2);
    rig.write(Register.QUEUE_DESC, 0x1000);
    expect(queue()).toEqual([0, 0xffff, 0, 2]);
    rig.write(Register.QUEUE_SELECT, 1, 2);
    expect(queue()).toEqual([16, 0xffff, 0, 1]);
  });

  test("holes of the BAR are not answered, and nothing crashes whatever is written there", () => {
    const rig = new TransportRig(device, memory);
    for (const offset of [0x38, 0x1fff, 0x2001, 0x3ffc, 0x5000, 0x6000, 0x7000, 0x8000 + 48, 0x4_8008, 0x7_fffc])
      for (const size of [1, 2, 4, 8]) {
        rig.write(offset, 0xffff_ffff, size, 0xffff_ffff);
        expect([offset, rig.read(offset, size)]).toEqual([offset, 2 ** Math.min(32, 8 * size) - 1]);
      }
    expect(rig.read(Bar0.ISR, 1)).toBe(0);
  });

  test("only offered features are accepted, a later write replaces, and a reset forgets", () => {
    const rig = new TransportRig(device, memory);
    const accepted = (): boolean[] => [0, 5, 6, 28, 29, 32, 33].map((bit) => rig.front.hasFeature(bit));
    expect(rig.offered()).toEqual([0x3000_0021, 1]);
    rig.write(Register.DEVICE_FEATURE_SELECT, 2);
    expect(rig.read(Register.DEVICE_FEATURE)).toBe(0);
    rig.accept(0xffff_ffff, 0xffff_ffff);
    expect(accepted()).toEqual([true, true, false, true, true, true, false]);
    rig.accept(0x0000_0001, 1);
    expect(accepted()).toEqual([true, false, false, false, false, true, false]);
    rig.write(Register.DRIVER_FEATURE_SELECT, 2);
    rig.write(Register.DRIVER_FEATURE, 0xffff_ffff);
    expect(accepted()).toEqual([true, false, false, false, false, true, false]);
    rig.status = 0;
    expect(accepted().some(Boolean)).toBe(false);
  });

  test("a reset puts the registers back", () => {
    const rig = new TransportRig(device, memory);
    rig.start([8, 8]);
    rig.status = 0;
    expect(rig.status).toBe(0);
    for (const [offset, size, value] of [
      [Register.DEVICE_FEATURE_SELECT, 4, 0],
      [Register.DRIVER_FEATURE_SELECT, 4, 0],
      [Register.CONFIG_MSIX_VECTOR, 2, 0xffff],
      [Register.QUEUE_SELECT, 2, 0],
      [Register.QUEUE_SIZE, 2, 128],
      [Register.QUEUE_MSIX_VECTOR, 2, 0xffff],
      [Register.QUEUE_ENABLE, 2, 0],
    ] as const)
      expect([offset, rig.read(offset, size)]).toEqual([offset, value]);
  });

  test.each([
    [Register.QUEUE_DESC, 16],
    [Register.QUEUE_DRIVER, 2],
    [Register.QUEUE_DEVICE, 4],
  ])("misaligned ring addresses are dropped (register %i, multiples of %i)", (register, align) => {
    for (const wrong of [align / 2, align - 1]) {
      const rig = new TransportRig({ ...device, queueSizes: [8] }, memory);
      const back = new BackEnd(rig.device, rig.wiring, memory);
      const [ring] = rig.start();
      const good =
        { 32: ring?.setup.descriptorArea, 40: ring?.setup.driverArea, 48: ring?.setup.deviceArea }[register] ?? 0;
      rig.status = 0;
      rig.start();
      rig.status = 0;
      rig.status = 3;
      if (ring !== undefined) rig.enableQueue(ring);
      rig.write(register, good + wrong, 4);
      rig.write(register, good + wrong, 8, 1);
      rig.write(register + 2, 0, 4);
      rig.write(register, 0, 2);
      rig.status = 15;
      expect(back.queues[0]?.update()).toBe("started");
    }
  });
});

describe("device configuration", () => {
  test("reads inside it, all ones beyond, and writes only where the device takes them", () => {
    const rig = new TransportRig(device, memory);
    expect(rig.read(Bar0.DEVICE, 4)).toBe(0x0403_0201);
    expect(rig.read(Bar0.DEVICE + 3, 2)).toBe(0x0504);
    expect(rig.read(Bar0.DEVICE + 9, 1)).toBe(10);
    expect(rig.read(Bar0.DEVICE + 8, 4)).toBe(0xffff_ffff);
    expect(rig.read(Bar0.DEVICE + 0xffc, 4)).toBe(0xffff_ffff);
    rig.write(Bar0.DEVICE + 4, 0xaa, 1);
    rig.write(Bar0.DEVICE + 4, 0xbbbb, 2);
    rig.write(Bar0.DEVICE + 0, 0xcc, 1);
    rig.write(Bar0.DEVICE + 9, 0xffff, 2);
    expect(rig.read(Bar0.DEVICE, 8)).toBe(0x0403_0201);
    expect(rig.read(Bar0.DEVICE + 4, 4)).toBe(0x0807_06aa);
  });

  test("the first read after a change starts a generation; the interrupt comes once the driver is ready", () => {
    const rig = new TransportRig(device, memory);
    const generation = (): number => rig.read(Register.CONFIG_GENERATION, 1);
    rig.openInterrupts();
    rig.front.changeConfig(1, 0x1111_1111);
    expect(rig.raised(0)).toBe(false);
    expect([generation(), rig.read(Bar0.DEVICE + 4), generation(), rig.read(Bar0.DEVICE), generation()]).toEqual([
      0, 0x1111_1111, 1, 0x0403_0201, 1,
    ]);
    rig.start([8, 8]);
    expect(rig.raised(0)).toBe(false);
    for (let i = 0; i < 256; i++) {
      rig.newFront().changeConfig(0, i);
      expect(rig.raised(0)).toBe(true);
      expect(rig.read(Bar0.DEVICE)).toBe(i);
    }
    expect(generation()).toBe(1);
    expect(() => rig.front.changeConfig(3, 0)).toThrow(RangeError);
    rig.front.changeConfig(0, 0);
    rig.status = 0;
    rig.read(Bar0.DEVICE);
    expect(generation()).toBe(1);
  });
});

describe("doorbells", () => {
  test("they signal through the BAR as through the ioeventfds, which follow it", () => {
    const rig = new TransportRig(device, memory);
    const fds = rig.wiring.queues.map(({ doorbell }) => doorbell);
    const at = (bar: number): [number, number][] => fds.map((fd, i) => [bar + 0x6000 + 4 * i, fd]);
    expect([...rig.ioEventFds]).toEqual(at(BAR));
    rig.ring(1);
    rig.ring(2);
    rig.ring(1023);
    expect(fds.map(drainEventFd)).toEqual([false, true]);
    const moved = 0xc000_0000;
    rig.front.writeConfig(4, 2, 2);
    rig.front.writeConfig(0x10, 4, moved);
    expect([...rig.ioEventFds]).toEqual(at(moved));
    rig.front.writeConfig(0x10, 4, 0x1000_0000);
    expect([...rig.ioEventFds]).toEqual(at(moved));
    rig.front.reset();
    expect([...rig.ioEventFds]).toEqual(at(BAR));
    rig.front.disconnect();
    rig.front.disconnect();
    expect(rig.ioEventFds.size).toBe(0);
  });
});

describe("activation", () => {
  const rigged = (override: Partial<VirtioDevice> = {}): { rig: TransportRig; back: BackEnd } => {
    const rig = new TransportRig({ ...device, ...override }, memory);
    rig.openInterrupts();
    return { rig, back: new BackEnd(rig.device, rig.wiring, memory) };
  };

  test("DRIVER_OK offers the enabled queues and wakes their thread", () => {
    const { rig, back } = rigged();
    expect(back.queues.map((queue) => queue.update())).toEqual(["none", "none"]);
    const rings = rig.start([8]);
    expect(rig.woken()).toBe(true);
    expect(back.queues.map((queue) => queue.update())).toEqual(["started", "none"]);
    expect(back.queues.map((queue) => queue.update())).toEqual(["none", "none"]);
    const [ring] = rings;
    const [queue] = back.queues;
    const head = ring?.add({ address: BASE, length: 3 });
    expect(queue?.take()).toBe(head ?? Number.NaN);
    queue?.ring?.complete(head ?? 0, 0);
    queue?.publish();
    expect(ring?.take().length).toBe(1);
    expect([rig.raised(0), rig.raised(1)]).toEqual([false, true]);
    expect(back.hasFeature(29)).toBe(true);
    expect(back.hasFeature(1)).toBe(false);
  });

  test.each([
    ["without FEATURES_OK", [1, 3, 7]],
    ["with an unknown bit", [1, 3, 0x2f]],
    ["with FAILED", [1, 3, 0x8f]],
  ])("no status but 0x0f activates: %s", (_name, statuses) => {
    const { rig, back } = rigged();
    rig.start([8]);
    rig.status = 0;
    rig.woken();
    rig.write(Register.QUEUE_ENABLE, 1, 2);
    for (const status of statuses) rig.status = status;
    expect(rig.woken()).toBe(false);
    expect(back.queues[0]?.update()).toBe("none");
  });

  test("nothing happens without an enabled queue", () => {
    const { rig } = rigged();
    rig.start([]);
    expect([rig.woken(), rig.status]).toEqual([false, 15]);
    rig.status = 0;
    expect(rig.notices).toEqual([]);
  });

  test("activation and the reset of an active device are told", () => {
    const { rig } = rigged();
    rig.start([8]);
    expect(rig.notices).toEqual([{ kind: "virtio-device", event: "activated", id: "_test0" }]);
    rig.status = 0;
    expect(rig.notices.slice(1)).toEqual([{ kind: "virtio-device", event: "reset", id: "_test0" }]);
  });

  test("each queue has the counters that the device names", () => {
    const { rig } = rigged({ counters: ["frames", "bytes"] });
    const back = new BackEnd(rig.device, rig.wiring, memory);
    back.queues[1]?.counters.set([3, 2 ** 40]);
    const { counters } = new TransportBlock(rig.device, rig.wiring.block);
    expect(counters.map((each) => [...each])).toEqual([
      [0, 0],
      [3, 2 ** 40],
    ]);
  });

  test("too few queues: the device needs a reset and says so", () => {
    const { rig } = rigged({ minQueues: 2 });
    rig.start([8]);
    expect([rig.woken(), rig.status, rig.raised(0)]).toEqual([false, 15 | DeviceStatus.NEEDS_RESET, true]);
  });

  test("rings outside RAM: the device needs a reset, other queues go on, and a reset heals it", () => {
    const { rig, back } = rigged();
    rig.status = 3;
    const [good] = new TransportRig(device, memory).start([8]);
    if (good === undefined) throw new Error("no ring");
    rig.enableQueue(good);
    rig.write(Register.QUEUE_SELECT, 1, 2);
    rig.write(Register.QUEUE_ENABLE, 1, 2);
    rig.write(Register.CONFIG_MSIX_VECTOR, 0, 2);
    rig.status = 15;
    expect(back.queues.map((queue) => queue.update())).toEqual(["started", "none"]);
    expect([rig.status, rig.raised(0)]).toEqual([15 | DeviceStatus.NEEDS_RESET, true]);
    rig.status = 15;
    expect(rig.status).toBe(15 | DeviceStatus.NEEDS_RESET);
    expect(back.queues[1]?.take()).toBe(-1);
    good.add({ address: BASE, length: 1 });
    expect(back.queues[0]?.take()).toBe(0);
    rig.control.leave();
    rig.status = 0;
    expect(rig.status).toBe(0);
    rig.start([8, 8]);
    expect(back.queues.map((queue) => queue.update())).toEqual(["started", "started"]);
    expect(rig.status).toBe(15);
  });

  test("a corrupt ring fails its queue; bad chains come back with length 0", () => {
    const { rig, back } = rigged();
    const [ring, other] = rig.start([8, 8]);
    for (const queue of back.queues) queue.update();
    const [queue] = back.queues;
    ring?.add({ address: 0, length: 1 });
    ring?.add({ address: BASE, length: 1 });
    expect(queue?.take()).toBe(1);
    queue?.publish();
    expect(ring?.take()).toEqual([{ head: 0, written: 0 }]);
    ring?.setAvailable(1000);
    expect(queue?.take()).toBe(-1);
    expect(queue?.ring).toBeUndefined();
    expect([rig.status, rig.raised(0)]).toEqual([15 | DeviceStatus.NEEDS_RESET, true]);
    other?.add({ address: BASE, length: 1 });
    expect(back.queues[1]?.take()).toBe(0);
    expect(back.queues[1]?.enableNotifications()).toBe(false);
  });
});

describe("reset", () => {
  const active = (): { rig: TransportRig; back: BackEnd } => {
    const rig = new TransportRig(device, memory);
    const back = new BackEnd(device, rig.wiring, memory);
    rig.start([8, 8]);
    return { rig, back };
  };

  test("queues that the back end has not taken come back at once", () => {
    const { rig, back } = active();
    rig.status = 0;
    expect(rig.status).toBe(0);
    expect(back.queues.map((queue) => queue.update())).toEqual(["none", "none"]);
  });

  test("queues of a thread that has ended come back at once", () => {
    const { rig, back } = active();
    for (const queue of back.queues) queue.update();
    rig.control.leave();
    rig.status = 0;
    expect(rig.status).toBe(0);
  });

  test("a back end that does not let go holds the status, not the vCPU; registers keep still meanwhile", () => {
    const { rig, back } = active();
    for (const queue of back.queues) queue.update();
    const start = performance.now();
    rig.status = 0;
    expect(performance.now() - start).toBeLessThan(3000);
    expect(rig.status).toBe(15);
    rig.newFront();
    expect(back.queues.map((queue) => queue.update())).toEqual(["recalled", "recalled"]);
    back.queues[0]?.release();
    expect(rig.status).toBe(15);
    expect(back.queues[1]?.ring).toBeDefined();
    back.queues[1]?.release();
    expect(rig.status).toBe(0);
    expect(rig.read(Register.QUEUE_SIZE, 2)).toBe(128);
    rig.start([8, 8]);
    expect(back.queues.map((queue) => queue.update())).toEqual(["started", "started"]);
  });
});

describe("save and restore", () => {
  test("a freshly built device goes on where the saved one stopped", () => {
    const rig = new TransportRig(device, memory);
    const back = new BackEnd(device, rig.wiring, memory);
    rig.openInterrupts();
    rig.front.writeConfig(4, 2, 2);
    rig.front.writeConfig(0x10, 4, 0xc000_0000);
    const [ring] = rig.start([8]);
    if (ring === undefined) throw new Error("no ring");
    const [queue] = back.queues;
    queue?.update();
    ring.setUsedEvent(2);
    for (let i = 0; i < 3; i++) ring.add({ address: BASE + 0x1000, length: i + 1 });
    queue?.ring?.complete(queue.take(), 0);
    queue?.publish();
    const saved = rig.front.save();

    const next = new TransportRig(device, memory);
    const backNext = new BackEnd(device, next.wiring, memory);
    next.front.restore(saved);
    expect([...next.ioEventFds.keys()]).toEqual([0xc000_6000, 0xc000_6004]);
    expect([...next.routes.keys()]).toEqual([24, 25, 26]);
    expect(next.front.readConfig(0x10, 4)).toBe(0xc000_0000);
    expect([next.status, next.woken()]).toEqual([15, true]);
    expect(backNext.queues.map((each) => each.update())).toEqual(["started", "none"]);
    const [queueNext] = backNext.queues;
    expect(queueNext?.take()).toBe(1);
    expect(queueNext?.ring?.chain.lengths[0]).toBe(2);
    queueNext?.ring?.complete(1, 0);
    queueNext?.publish();
    expect(next.raised(1)).toBe(false);
    queueNext?.ring?.complete(queueNext.take(), 0);
    queueNext?.publish();
    expect(next.raised(1)).toBe(true);
    expect(ring.take().map(({ head }) => head)).toEqual([0, 1, 2]);
    next.front.nudge();
    expect([next.raised(0), next.raised(1), next.raised(2)]).toEqual([false, true, false]);
    expect(next.wiring.queues.map(({ doorbell }) => drainEventFd(doorbell))).toEqual([true, false]);
  });

  test("a device saved while the driver waits for its reset comes back reset", () => {
    const rig = new TransportRig(device, memory);
    const back = new BackEnd(device, rig.wiring, memory);
    rig.start([8]);
    back.queues[0]?.update();
    rig.status = 0;
    const saved = rig.front.save();
    const next = new TransportRig(device, memory);
    next.front.restore(saved);
    expect([next.status, next.woken()]).toEqual([0, false]);
  });

  test("a device that needs a reset still does", () => {
    const rig = new TransportRig({ ...device, minQueues: 2 }, memory);
    rig.start([8]);
    const next = new TransportRig({ ...device, minQueues: 2 }, memory);
    next.front.restore(rig.front.save());
    expect([next.status, next.woken()]).toEqual([15 | DeviceStatus.NEEDS_RESET, false]);
  });

  test("a device that was never reset can be restored", () => {
    const rig = new TransportRig(device, memory);
    const saved = rig.front.save();
    const block = refTo(mapAnonymous(TransportBlock.sizeOf(device)));
    rig.front.disconnect();
    Object.assign(rig.wiring, { block });
    const fresh = rig.newFront();
    fresh.restore(saved);
    expect(rig.ioEventFds.size).toBe(2);
    expect(rig.read(Register.QUEUE_SIZE, 2, fresh)).toBe(128);
  });

  test("states that no device of this kind can have are refused", () => {
    const rig = new TransportRig(device, memory);
    expect(() => rig.front.restore(rig.front.save().subarray(1))).toThrow(RangeError);
    expect(() => rig.front.restore(new TransportRig(bare, memory).front.save())).toThrow(RangeError);
    const saved = rig.front.save();
    const back = new BackEnd(device, rig.wiring, memory);
    let refused = 0;
    for (let i = 0; i < saved.length; i++) {
      const hostile = saved.slice();
      hostile[i] = 0xff;
      rig.front.reset();
      try {
        rig.front.restore(hostile);
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
        refused++;
        continue;
      }
      for (const queue of back.queues) queue.update();
    }
    expect(refused).toBeGreaterThan(4);
  });

  test("a 64-bit BAR keeps its place", () => {
    const rig = new TransportRig(device, memory);
    Object.assign(rig.wiring.bar, { kind: "memory64", address: M64.base });
    const wide = rig.newFront();
    wide.reset();
    expect([wide.readConfig(0x10, 4), wide.readConfig(0x14, 4)]).toEqual([4, 0x40]);
    const again = rig.newFront();
    again.restore(wide.save());
    expect(again.bars[0]?.mapped).toBe(M64.base);
  });
});
