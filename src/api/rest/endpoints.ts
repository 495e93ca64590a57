import { UnsupportedError } from "../../config/errors.ts";
import { decodeJsonBytes } from "../../config/json/decode.ts";
import { encodeJson, plainJson } from "../../config/json/encode.ts";
import {
  coredumpSchema,
  removeDeviceSchema,
  resizeDiskSchema,
  resizeSchema,
  resizeZoneSchema,
  snapshotSchema,
} from "../../config/schema/actions.ts";
import { diskSchema } from "../../config/schema/disk.ts";
import { deviceSchema, userDeviceSchema } from "../../config/schema/host-devices.ts";
import { receiveMigrationSchema, sendMigrationSchema } from "../../config/schema/migration.ts";
import { netSchema } from "../../config/schema/net.ts";
import type { ConfigOf, Members, ObjectSchema } from "../../config/schema/object-schema.ts";
import { restoreSchema } from "../../config/schema/restore.ts";
import {
  fsSchema,
  genericVhostUserSchema,
  pmemSchema,
  vdpaSchema,
  vsockSchema,
} from "../../config/schema/virtio-devices.ts";
import { vmSchema } from "../../config/schema/vm.ts";
import type { NewDevice } from "../../vmm/control/device-kinds.ts";
import type { VmInfo } from "../../vmm/control/vm-info.ts";
import type { VmmControl } from "../../vmm/control/vmm-control.ts";
import type { HttpResponse } from "../http/response.ts";
import { DescriptorCountError } from "./failure-response.ts";

/** What this program says it is. */
export interface Identity {
  /** As `v53.0`, from the source control. */
  readonly buildVersion: string;
  /** As `53.0.0`. */
  readonly version: string;
  /** What it was built with. */
  readonly features: readonly string[];
}

/** What an endpoint works with. */
export interface EndpointContext {
  readonly control: VmmControl;
  readonly identity: Identity;
  /** Bytes of the request's body. */
  readonly body: Uint8Array;
  /** Descriptors of the request. Those that are taken out of the list are the endpoint's. */
  readonly fds: number[];
}

/**
 * How an endpoint is used: rest-api.md, section 1.6.
 * `get`: GET. `plain-get`: GET, with other answers to other methods. `any-put`: PUT, a body is ignored. `create`: PUT with a
 * body, with other answers to what is wrong. `put`: PUT without a body. `put-body`: PUT with a body.
 */
export type Usage = "get" | "plain-get" | "any-put" | "create" | "put" | "put-body";

export interface Endpoint {
  readonly usage: Usage;
  /** What it does, to complete "cannot ...". */
  readonly action: string;
  /** Its body. */
  readonly schema?: ObjectSchema;
  readonly run: (context: EndpointContext) => HttpResponse | Promise<HttpResponse>;
}

export const BASE_PATH = "/api/v1/";

const NO_CONTENT: HttpResponse = { status: 204, body: "" };

const ok = (body: string): HttpResponse => ({ status: 200, body });

/** An action without a body on either side. */
function act(action: string, run: (control: VmmControl) => Promise<void>): Endpoint {
  return {
    usage: "put",
    action,
    run: async ({ control }) => {
      await run(control);
      return NO_CONTENT;
    },
  };
}

/** An action that takes a body and gives none. */
function change<M extends Members>(
  action: string,
  schema: ObjectSchema<M>,
  run: (control: VmmControl, config: ConfigOf<M>) => Promise<void>,
): Endpoint {
  return {
    usage: "put-body",
    action,
    schema,
    run: async ({ control, body }) => {
      await run(control, decodeJsonBytes(schema, body));
      return NO_CONTENT;
    },
  };
}

/** An action that takes a body and that nothing implements. */
function unsupported<M extends Members>(
  name: string,
  action: string,
  schema: ObjectSchema<M>,
  fdsOf: (config: ConfigOf<M>) => number | undefined = () => undefined,
): Endpoint {
  return {
    usage: "put-body",
    action,
    schema,
    run: ({ body, fds }) => {
      const expected = fdsOf(decodeJsonBytes(schema, body));
      if (expected !== undefined && expected !== fds.length)
        throw new DescriptorCountError(String(expected), fds.length);
      throw new UnsupportedError([name]);
    },
  };
}

/** @param make the new device; what it takes of the descriptors is the VM's when the device has been added */
function add<M extends Members>(
  what: string,
  schema: ObjectSchema<M>,
  make: (config: ConfigOf<M>, fds: readonly number[]) => NewDevice,
): Endpoint {
  return {
    usage: "put-body",
    action: `add ${what} to the VM`,
    schema,
    run: async ({ control, body, fds }) => {
      const device = make(decodeJsonBytes(schema, body), fds);
      const info = await control.addDevice(device);
      if (device.member === "net" || device.member === "devices") fds.splice(0);
      return info === undefined ? NO_CONTENT : ok(plainJson({ id: info.id, bdf: info.bdf }));
    },
  };
}

function infoText({ config, state, memoryActualSize, deviceTree }: VmInfo): string {
  const nodes = Object.entries(deviceTree ?? {}).map(([id, node]) => [id, { ...node }] as const);
  const tree = deviceTree === undefined ? "" : `,"device_tree":${plainJson(Object.fromEntries(nodes))}`;
  return `{"config":${encodeJson(vmSchema, config)},"state":"${state}","memory_actual_size":${memoryActualSize}${tree}}`;
}

const vfioCount = (vfio: readonly unknown[] | undefined): number => (vfio === undefined ? 0 : vfio.length + 1);

/** Every endpoint, by what follows the base path. */
export const ENDPOINTS = {
  "vmm.ping": {
    usage: "get",
    action: "ping the VMM",
    run: ({ identity: { buildVersion, version, features } }) =>
      ok(plainJson({ build_version: buildVersion, version, pid: process.pid, features })),
  },
  "vmm.shutdown": {
    usage: "any-put",
    action: "shut the VMM down",
    run: async ({ control }) => {
      await control.shutdownVmm();
      return ok("");
    },
  },
  "vm.info": {
    usage: "get",
    action: "tell about the VM",
    run: async ({ control }) => ok(infoText(await control.info())),
  },
  "vm.counters": {
    usage: "plain-get",
    action: "read the counters of the VM",
    run: async ({ control }) => ok(plainJson(await control.counters())),
  },
  "vm.create": { ...change("create the VM", vmSchema, (control, config) => control.create(config)), usage: "create" },
  "vm.delete": act("delete the VM", (control) => control.delete()),
  "vm.boot": act("boot the VM", (control) => control.boot()),
  "vm.shutdown": act("shut the VM down", (control) => control.shutdown()),
  "vm.reboot": act("reboot the VM", (control) => control.reboot()),
  "vm.pause": act("pause the VM", (control) => control.pause()),
  "vm.resume": act("resume the VM", (control) => control.resume()),
  "vm.power-button": act("press the power button of the VM", (control) => control.powerButton()),
  "vm.nmi": act("send the VM an NMI", (control) => control.nmi()),
  "vm.resize": change("resize the VM", resizeSchema, (control, request) => control.resize(request)),
  "vm.resize-disk": change("resize the disk", resizeDiskSchema, (control, request) => control.resizeDisk(request)),
  "vm.resize-zone": change("resize the memory zone", resizeZoneSchema, (control, request) =>
    control.resizeZone(request),
  ),
  "vm.add-device": add("a device", deviceSchema, (config, fds) => {
    const [fd, ...more] = fds;
    if (more.length > 0) throw new DescriptorCountError("at most 1", fds.length);
    return { member: "devices", config: fd === undefined ? config : { ...config, fd } };
  }),
  "vm.add-user-device": add("a vfio-user device", userDeviceSchema, (config) => ({ member: "user_devices", config })),
  "vm.add-disk": add("a disk", diskSchema, (config) => ({ member: "disks", config })),
  "vm.add-fs": add("a shared file system", fsSchema, (config) => ({ member: "fs", config })),
  "vm.add-generic-vhost-user": add("a vhost-user device", genericVhostUserSchema, (config) => ({
    member: "generic_vhost_user",
    config,
  })),
  "vm.add-pmem": add("persistent memory", pmemSchema, (config) => ({ member: "pmem", config })),
  "vm.add-net": add("a network device", netSchema, (config, fds) => ({
    member: "net",
    config: fds.length === 0 ? config : { ...config, fds: [...fds] },
  })),
  "vm.add-vdpa": add("a vDPA device", vdpaSchema, (config) => ({ member: "vdpa", config })),
  "vm.add-vsock": add("a socket device", vsockSchema, (config) => ({ member: "vsock", config })),
  "vm.remove-device": change("remove the device", removeDeviceSchema, (control, { id }) => control.removeDevice(id)),
  "vm.snapshot": unsupported("vm.snapshot", "take a snapshot of the VM", snapshotSchema),
  "vm.restore": unsupported("vm.restore", "restore the VM", restoreSchema, ({ net_fds: nets = [], vfio_fds: vfio }) =>
    nets.reduce((sum, net) => sum + net.num_fds, vfioCount(vfio)),
  ),
  "vm.coredump": change("dump the memory of the VM", coredumpSchema, (control, request) => control.coredump(request)),
  "vm.receive-migration": unsupported(
    "vm.receive-migration",
    "receive a VM",
    receiveMigrationSchema,
    ({ vfio_fds: vfio }) => vfioCount(vfio),
  ),
  "vm.send-migration": unsupported("vm.send-migration", "send the VM away", sendMigrationSchema),
} as const satisfies Record<string, Endpoint>;

export type EndpointName = keyof typeof ENDPOINTS;
