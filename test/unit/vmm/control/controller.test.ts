import { describe, expect, test } from "bun:test";
import { UnsupportedError, ValidationError } from "../../../../src/config/errors.ts";
import { decodeJson } from "../../../../src/config/json/decode.ts";
import { diskSchema } from "../../../../src/config/schema/disk.ts";
import { netSchema } from "../../../../src/config/schema/net.ts";
import { vdpaSchema } from "../../../../src/config/schema/virtio-devices.ts";
import { vmSchema } from "../../../../src/config/schema/vm.ts";
import type { VmController } from "../../../../src/vmm/control/controller.ts";
import { droppedDescriptors, withoutDevice } from "../../../../src/vmm/control/device-kinds.ts";
import {
  InvalidTransitionError,
  UnknownDeviceError,
  VmAlreadyCreatedError,
  VmMissingConfigError,
  VmNotCreatedError,
  VmNotRunningError,
} from "../../../../src/vmm/control/errors.ts";
import { configOf } from "../../config/command-line.ts";
import { fakeVmm } from "./fake-life.ts";

const CONFIG = configOf({ disk: ["path=/d,image_type=raw"], console: ["off"] });

/** The name of the error that a request ends with; "ok" when with none. */
async function outcome(request: Promise<unknown>): Promise<string> {
  try {
    await request;
    return "ok";
  } catch (error) {
    return error instanceof Error ? error.name : String(error);
  }
}

type Act = (vmm: VmController) => Promise<unknown>;

const REQUESTS = {
  create: (vmm) => vmm.create(CONFIG),
  boot: (vmm) => vmm.boot(),
  shutdown: (vmm) => vmm.shutdown(),
  reboot: (vmm) => vmm.reboot(),
  pause: (vmm) => vmm.pause(),
  resume: (vmm) => vmm.resume(),
  delete: (vmm) => vmm.delete(),
  powerButton: (vmm) => vmm.powerButton(),
  nmi: (vmm) => vmm.nmi(),
  coredump: (vmm) => vmm.coredump({ destination_url: "file:///core" }),
  info: (vmm) => vmm.info(),
  counters: (vmm) => vmm.counters(),
  resize: (vmm) => vmm.resize({}),
  resizeDisk: (vmm) => vmm.resizeDisk({ id: "_disk0", desired_size: 512 }),
  resizeZone: (vmm) => vmm.resizeZone({ id: "z", desired_ram: 1 }),
  removeDevice: (vmm) => vmm.removeDevice("x"),
  addDevice: (vmm) =>
    vmm.addDevice({ member: "disks", config: decodeJson(diskSchema, '{"path":"/e","image_type":"Raw"}') }),
} as const satisfies Record<string, Act>;

const EXISTS = VmAlreadyCreatedError.name;
const NOT_CREATED = VmNotCreatedError.name;
const NOT_RUNNING = VmNotRunningError.name;
const TRANSITION = InvalidTransitionError.name;
const UNSUPPORTED = UnsupportedError.name;

/** Way to a state, and what each request comes to there: rest-api.md, section 2. */
const TABLE: Readonly<
  Record<string, { readonly way: readonly Act[]; readonly outcomes: Record<keyof typeof REQUESTS, string> }>
> = {
  "no configuration": {
    way: [],
    outcomes: {
      create: "ok",
      boot: VmMissingConfigError.name,
      shutdown: NOT_RUNNING,
      reboot: NOT_CREATED,
      pause: NOT_RUNNING,
      resume: NOT_RUNNING,
      delete: "ok",
      powerButton: NOT_RUNNING,
      nmi: NOT_RUNNING,
      coredump: NOT_RUNNING,
      info: NOT_CREATED,
      counters: NOT_RUNNING,
      resize: NOT_CREATED,
      resizeDisk: NOT_CREATED,
      resizeZone: NOT_CREATED,
      removeDevice: NOT_CREATED,
      addDevice: NOT_CREATED,
    },
  },
  created: {
    way: [REQUESTS.create],
    outcomes: {
      create: EXISTS,
      boot: "ok",
      shutdown: NOT_RUNNING,
      reboot: NOT_CREATED,
      pause: NOT_RUNNING,
      resume: NOT_RUNNING,
      delete: "ok",
      powerButton: NOT_RUNNING,
      nmi: NOT_RUNNING,
      coredump: NOT_RUNNING,
      info: "ok",
      counters: NOT_RUNNING,
      resize: "ok",
      resizeDisk: NOT_RUNNING,
      resizeZone: "Error",
      removeDevice: UnknownDeviceError.name,
      addDevice: "ok",
    },
  },
  running: {
    way: [REQUESTS.create, REQUESTS.boot],
    outcomes: {
      create: EXISTS,
      boot: EXISTS,
      shutdown: "ok",
      reboot: "ok",
      pause: "ok",
      resume: TRANSITION,
      delete: "ok",
      powerButton: "ok",
      nmi: "ok",
      coredump: "ok",
      info: "ok",
      counters: "ok",
      resize: "ok",
      resizeDisk: UNSUPPORTED,
      resizeZone: UNSUPPORTED,
      removeDevice: UNSUPPORTED,
      addDevice: UNSUPPORTED,
    },
  },
  paused: {
    way: [REQUESTS.create, REQUESTS.boot, REQUESTS.pause],
    outcomes: {
      create: EXISTS,
      boot: EXISTS,
      shutdown: "ok",
      reboot: "ok",
      pause: TRANSITION,
      resume: "ok",
      delete: "ok",
      powerButton: "ok",
      nmi: "ok",
      coredump: "ok",
      info: "ok",
      counters: "ok",
      resize: "ok",
      resizeDisk: UNSUPPORTED,
      resizeZone: UNSUPPORTED,
      removeDevice: UNSUPPORTED,
      addDevice: UNSUPPORTED,
    },
  },
};

describe("requests in each state", () => {
  for (const [state, { way, outcomes }] of Object.entries(TABLE))
    for (const [request, act] of Object.entries(REQUESTS))
      test(`${request} with ${state}`, async () => {
        const { controller } = fakeVmm();
        for (const step of way) await step(controller);
        expect(await outcome(act(controller))).toBe(outcomes[request as keyof typeof REQUESTS]);
      });
});

describe("a life", () => {
  test("from creation to deletion, with its events", async () => {
    const { controller, lives, events } = fakeVmm();
    await controller.create(CONFIG);
    expect((await controller.info()).state).toBe("Created");
    expect((await controller.info()).deviceTree).toBeUndefined();
    await controller.boot();
    const info = await controller.info();
    expect(info.state).toBe("Running");
    expect(info.config.disks?.[0]?.id).toBe("_disk0");
    expect(info.memoryActualSize).toBe(512 << 20);
    expect(Object.keys(info.deviceTree ?? {})).toEqual(["__serial"]);
    await controller.pause();
    expect((await controller.info()).state).toBe("Paused");
    await controller.resume();
    await controller.powerButton();
    await controller.nmi();
    await controller.shutdown();
    expect((await controller.info()).state).toBe("Created");
    await controller.delete();
    expect(lives.map(({ calls }) => calls)).toEqual([
      ["start", "pause", "resume", "powerButton", "pause", "nmi", "resume", "stop", "close"],
    ]);
    expect(events).toEqual(
      "booting booted pausing paused resuming resumed shutdown deleted".split(" ").map((event) => `vm:${event}`),
    );
  });

  test("a reboot is a new life with the same ids", async () => {
    const { controller, lives, events } = fakeVmm();
    await controller.create(CONFIG);
    await controller.boot();
    await controller.pause();
    await controller.reboot();
    expect((await controller.info()).state).toBe("Running");
    expect(lives.map(({ calls }) => calls)).toEqual([["start", "pause", "stop", "close"], ["start"]]);
    expect(lives[1]?.config.disks?.[0]?.id).toBe("_disk0");
    expect(events.slice(-2)).toEqual(["vm:rebooting", "vm:rebooted"]);
  });

  test("a guest that resets is booted again", async () => {
    const { controller, lives, events } = fakeVmm();
    await controller.create(CONFIG);
    await controller.boot();
    lives[0]?.end("reset");
    await lives[0]?.over;
    expect((await controller.info()).state).toBe("Running");
    expect(lives.map(({ calls }) => calls)).toEqual([["start", "close"], ["start"]]);
    expect(events.slice(-2)).toEqual(["vm:rebooting", "vm:rebooted"]);
  });

  test("a guest that powers off ends the VMM", async () => {
    const { controller, lives, events } = fakeVmm();
    await controller.create(CONFIG);
    await controller.boot();
    lives[0]?.end("powerOff");
    await controller.ended;
    expect(events.slice(-3)).toEqual(["vm:shutdown", "vm:deleted", "vmm:shutdown"]);
  });

  test("a guest that powers off leaves the VM created when the VMM is to stay", async () => {
    const { controller, lives, events } = fakeVmm({ noShutdown: true });
    await controller.create(CONFIG);
    await controller.boot();
    lives[0]?.end("powerOff");
    await lives[0]?.over;
    expect((await controller.info()).state).toBe("Created");
    expect(events.at(-1)).toBe("vm:shutdown");
    await controller.boot();
    expect((await controller.info()).state).toBe("Running");
  });

  test("vmm.shutdown takes all with it", async () => {
    const { controller, lives, events } = fakeVmm();
    await controller.create(CONFIG);
    await controller.boot();
    await controller.shutdownVmm();
    await controller.ended;
    expect(lives[0]?.calls).toEqual(["start", "stop", "close"]);
    expect(events.slice(-3)).toEqual(["vm:shutdown", "vm:deleted", "vmm:shutdown"]);
  });
});

describe("failures", () => {
  test("a VM that does not start can be booted again", async () => {
    let fails = true;
    const { controller, lives, events } = fakeVmm({
      prepare: (life) => {
        if (fails) life.startError = new Error("no memory");
      },
    });
    await controller.create(CONFIG);
    expect(await outcome(controller.boot())).toBe("Error");
    expect(lives[0]?.calls).toEqual(["start", "close"]);
    expect(events).toEqual(["vm:booting"]);
    expect((await controller.info()).state).toBe("Created");
    fails = false;
    await controller.boot();
    expect((await controller.info()).state).toBe("Running");
  });

  test("an NMI finds the VM paused, and leaves it as it was", async () => {
    const { controller, lives, events } = fakeVmm();
    await controller.create(CONFIG);
    await controller.boot();
    await controller.nmi();
    expect((await controller.info()).state).toBe("Running");
    await controller.pause();
    await controller.nmi();
    expect((await controller.info()).state).toBe("Paused");
    expect(lives[0]?.calls).toEqual(["start", "pause", "nmi", "resume", "pause", "nmi"]);
    expect(events).toEqual(["vm:booting", "vm:booted", "vm:pausing", "vm:paused"]);
  });

  test("a core dump finds the VM paused, and leaves it as it was even when it fails", async () => {
    const { controller, lives, events } = fakeVmm({
      prepare: (life) => {
        life.dumpError = new Error("no room");
      },
    });
    await controller.create(CONFIG);
    await controller.boot();
    expect(REQUESTS.coredump(controller)).rejects.toThrow("no room");
    expect((await controller.info()).state).toBe("Running");
    await controller.pause();
    expect(REQUESTS.coredump(controller)).rejects.toThrow("no room");
    expect((await controller.info()).state).toBe("Paused");
    const dump = "coredump file:///core";
    expect(lives[0]?.calls).toEqual(["start", "pause", dump, "resume", "pause", dump]);
    const whileRunning = ["vm:coredumping", "vm:pausing", "vm:paused", "vm:resuming", "vm:resumed"];
    expect(events.slice(2)).toEqual([...whileRunning, "vm:pausing", "vm:paused", "vm:coredumping"]);
  });

  test("a pause that fails leaves the VM running", async () => {
    const { controller, lives, events } = fakeVmm();
    await controller.create(CONFIG);
    await controller.boot();
    if (lives[0] !== undefined) lives[0].pauseError = new Error("stuck");
    expect(await outcome(controller.pause())).toBe("Error");
    expect((await controller.info()).state).toBe("Running");
    expect(events.at(-1)).toBe("vm:pausing");
  });

  test("a thread that fails ends the VMM", async () => {
    const { controller, lives } = fakeVmm();
    await controller.create(CONFIG);
    await controller.boot();
    lives[0]?.fail(new Error("vcpu0"));
    expect(controller.ended).rejects.toThrow("vcpu0");
    await controller.ended.catch(() => undefined);
    expect(lives[0]?.calls.at(-1)).toBe("close");
  });

  test("a VM that does not survive its reset ends the VMM", async () => {
    const { controller, lives } = fakeVmm({
      prepare: (life) => {
        if (lives.length === 1) life.startError = new Error("no memory");
      },
    });
    await controller.create(CONFIG);
    await controller.boot();
    lives[0]?.end("reset");
    expect(await outcome(controller.ended)).toBe("Error");
  });

  test("what is invalid or not supported is stored, and refused at boot", async () => {
    const { controller } = fakeVmm();
    await controller.create(decodeJson(vmSchema, "{}"));
    expect(await outcome(controller.boot())).toBe(ValidationError.name);
    await controller.delete();
    await controller.create({ ...CONFIG, payload: { ...CONFIG.payload, igvm: "g" } });
    expect(await outcome(controller.boot())).toBe(UNSUPPORTED);
  });
});

describe("the stored configuration", () => {
  test("takes and loses devices, and is validated as a whole", async () => {
    const { controller } = fakeVmm();
    await controller.create(CONFIG);
    const disk = decodeJson(diskSchema, '{"path":"/e","id":"e","image_type":"Raw"}');
    expect(await controller.addDevice({ member: "disks", config: disk })).toBeUndefined();
    expect((await controller.info()).config.disks?.map(({ path }) => path)).toEqual(["/d", "/e"]);
    expect(await outcome(controller.addDevice({ member: "disks", config: disk }))).toBe(ValidationError.name);
    const vdpa = decodeJson(vdpaSchema, '{"path":"/dev/vhost-vdpa-0"}');
    expect(await outcome(controller.addDevice({ member: "vdpa", config: vdpa }))).toBe(UNSUPPORTED);
    await controller.removeDevice("e");
    expect((await controller.info()).config.disks?.map(({ path }) => path)).toEqual(["/d"]);
  });

  test("is resized without checks", async () => {
    const { controller } = fakeVmm();
    await controller.create({
      ...CONFIG,
      memory: {
        ...CONFIG.memory,
        zones:
          decodeJson(
            vmSchema,
            '{"cpus":{"boot_vcpus":1,"max_vcpus":1},"memory":{"size":0,"zones":[{"id":"z","size":1}]}}',
          ).memory.zones ?? [],
      },
    });
    await controller.resize({ desired_vcpus: 9, desired_ram: 1 << 30, desired_balloon: 5 });
    await controller.resizeZone({ id: "z", desired_ram: 7 });
    const { config } = await controller.info();
    expect([config.cpus.boot_vcpus, config.memory.size, config.balloon]).toEqual([9, 1 << 30, undefined]);
    expect(config.memory.zones?.[0]?.size).toBe(7);
  });
});

test("descriptors go with the devices they belong to", () => {
  const net = (id: string, fds: readonly number[]) => ({ ...decodeJson(netSchema, "{}"), id, fds });
  const both = { ...CONFIG, net: [net("a", [10, 11]), net("b", [12])] };
  expect(droppedDescriptors(both, withoutDevice(both, "a"))).toEqual([10, 11]);
  expect(droppedDescriptors(both, undefined)).toEqual([10, 11, 12]);
  expect(droppedDescriptors(both, both)).toEqual([]);
  expect(withoutDevice(both, "c")).toBeUndefined();
});

test("requests are carried out in the order in which they are made", async () => {
  const { controller, lives } = fakeVmm();
  const done: string[] = [];
  await Promise.all(
    (["create", "boot", "pause", "resume", "shutdown", "delete", "create", "boot"] as const).map((name) =>
      REQUESTS[name](controller).then(() => done.push(name)),
    ),
  );
  expect(done).toEqual(["create", "boot", "pause", "resume", "shutdown", "delete", "create", "boot"]);
  expect(lives.map(({ calls }) => calls)).toEqual([["start", "pause", "resume", "stop", "close"], ["start"]]);
});
