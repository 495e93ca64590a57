import type { ApiRequest } from "../../api/client/api-client.ts";
import type { EndpointName } from "../../api/rest/endpoints.ts";
import { OptionTextError } from "../../config/grammar/errors.ts";
import { GivenKeys } from "../../config/grammar/given-keys.ts";
import { encodeJson } from "../../config/json/encode.ts";
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
import { type ConfigOf, type Members, type ObjectSchema, parseOption } from "../../config/schema/object-schema.ts";
import { restoreSchema } from "../../config/schema/restore.ts";
import type { ReadableType } from "../../config/schema/value-type.ts";
import { size, u32 } from "../../config/schema/value-types.ts";
import {
  fsSchema,
  genericVhostUserSchema,
  pmemSchema,
  vdpaSchema,
  vsockSchema,
} from "../../config/schema/virtio-devices.ts";
import { validateReceiveMigration, validateSendMigration } from "../../config/validate/migration.ts";

/** An argument of a subcommand. */
export interface Argument {
  /** An option with its dashes, or the name of what stands alone. */
  readonly name: string;
  /** The option by one letter, with its dash. */
  readonly short?: string;
  /** The option stands alone, without a value. */
  readonly flag?: true;
  readonly doc: string;
  /**
   * `required`: its absence is a usage error. `needed`: its absence is found when the command runs, with an exit code of its
   * own. `optional`: it may be absent.
   */
  readonly presence: "required" | "needed" | "optional";
  /** The keys of its value. */
  readonly schema?: ObjectSchema;
}

/** The values of a subcommand's arguments, by name. */
export type Values = ReadonlyMap<string, string>;

interface Described {
  readonly doc: string;
  readonly arguments: readonly Argument[];
}

/** A subcommand that is one request. */
export interface RequestCommand extends Described {
  /** What to ask the VMM for. @throws CommandValueError, ValidationError */
  readonly request: (values: Values) => ApiRequest;
}

/** A subcommand that does more. */
export interface ProgramCommand extends Described {
  /** @param socket path of the API's socket @returns the exit status @throws CommandValueError, ApiConnectionError */
  readonly run: (socket: string, values: Values) => Promise<number>;
}

export type Command = RequestCommand | ProgramCommand;

/** A value of a subcommand's argument is wrong. The cause says how. */
export class CommandValueError extends Error {
  override readonly name = "CommandValueError";
}

/** An argument that a subcommand cannot do without is not given. */
export class MissingArgumentError extends Error {
  override readonly name = "MissingArgumentError";
  constructor(name: string) {
    super(`${name} is missing`);
  }
}

function given(values: Values, name: string): string {
  const value = values.get(name);
  if (value === undefined) throw new MissingArgumentError(name);
  return value;
}

function inArgument<T>(name: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    if (cause instanceof OptionTextError) throw new CommandValueError(`error in the value of ${name}`, { cause });
    throw cause;
  }
}

function plain(doc: string, method: "GET" | "PUT", endpoint: EndpointName): RequestCommand {
  return { doc, arguments: [], request: () => ({ method, endpoint }) };
}

/** A configuration without the descriptors that go beside it, and those, in order. */
interface Stripped<C> {
  readonly config: C;
  readonly fds: readonly number[];
}

/**
 * A subcommand whose one argument is an option string.
 * @param strip takes the file descriptors out
 */
function configured<M extends Members>(
  doc: string,
  endpoint: EndpointName,
  schema: ObjectSchema<M>,
  argument: Omit<Argument, "schema">,
  strip: (config: ConfigOf<M>) => Stripped<ConfigOf<M>> = (config) => ({ config, fds: [] }),
): RequestCommand {
  return {
    doc,
    arguments: [{ ...argument, schema }],
    request: (values) => {
      const text = given(values, argument.name);
      const { config, fds } = strip(inArgument(argument.name, () => parseOption(schema, text)));
      return { method: "PUT", endpoint, body: encodeJson(schema, config), fds };
    },
  };
}

const needed = (name: string, doc: string): Omit<Argument, "schema"> => ({ name, doc, presence: "needed" });

/** A subcommand that names something by one text. */
function named(
  doc: string,
  endpoint: EndpointName,
  argument: Omit<Argument, "schema">,
  body: (text: string) => string,
): RequestCommand {
  return {
    doc,
    arguments: [argument],
    request: (values) => ({ method: "PUT", endpoint, body: body(given(values, argument.name)) }),
  };
}

/** The number in an option's value. @throws CommandValueError */
function number(values: Values, name: string, type: ReadableType<number>): number | undefined {
  const text = values.get(name);
  if (text === undefined) return undefined;
  return inArgument(name, () => new GivenKeys(new Map([[name, text]])).required(name, type.parse));
}

const option = (name: string, doc: string, presence: Argument["presence"]): Argument => ({ name, doc, presence });

function vfioFds(
  vfio: readonly { readonly fd?: number }[] | undefined,
  iommufd: number | undefined,
): readonly number[] {
  return [...(vfio ?? []).flatMap(({ fd }) => fd ?? []), ...(iommufd === undefined ? [] : [iommufd])];
}

/** Entries of a list without one of their members. */
const idsOnly = (list: readonly { readonly id: string }[] | undefined) => list?.map(({ id }) => ({ id }));

/** Every subcommand of `ch-remote`: cli.md, section 5. */
export const COMMANDS = {
  "add-device": configured(
    "add a host device (VFIO)",
    "vm.add-device",
    deviceSchema,
    needed("device_config", "the device"),
    ({ fd, ...config }) => ({ config, fds: fd === undefined ? [] : [fd] }),
  ),
  "add-disk": configured("add a disk", "vm.add-disk", diskSchema, needed("disk_config", "the disk")),
  "add-fs": configured("add a shared file system", "vm.add-fs", fsSchema, needed("fs_config", "the file system")),
  "add-generic-vhost-user": configured(
    "add a vhost-user device of any type",
    "vm.add-generic-vhost-user",
    genericVhostUserSchema,
    needed("generic_vhost_user_config", "the device"),
  ),
  "add-net": configured(
    "add a network device",
    "vm.add-net",
    netSchema,
    needed("net_config", "the device"),
    ({ fds = [], ...config }) => ({ config, fds }),
  ),
  "add-pmem": configured("add persistent memory", "vm.add-pmem", pmemSchema, needed("pmem_config", "the memory")),
  "add-user-device": configured(
    "add a vfio-user device",
    "vm.add-user-device",
    userDeviceSchema,
    needed("device_config", "the device"),
  ),
  "add-vdpa": configured("add a vDPA device", "vm.add-vdpa", vdpaSchema, needed("vdpa_config", "the device")),
  "add-vsock": configured("add a socket device", "vm.add-vsock", vsockSchema, needed("vsock_config", "the device")),
  boot: plain("boot the VM that was created", "PUT", "vm.boot"),
  coredump: named(
    "write the VM's memory to a core file",
    "vm.coredump",
    needed("coredump_config", "file://<new file>"),
    (destination_url) => encodeJson(coredumpSchema, { destination_url }),
  ),
  counters: plain("print the counters of the VM's devices", "GET", "vm.counters"),
  create: {
    doc: "create a VM from a JSON document",
    arguments: [option("path", "file with the document; - is standard input, also by default", "optional")],
    request: (values) => ({ method: "PUT", endpoint: "vm.create", body: readDocument(values.get("path") ?? "-") }),
  },
  delete: plain("delete the VM", "PUT", "vm.delete"),
  info: plain("print what is known of the VM", "GET", "vm.info"),
  nmi: plain("send the VM a non-maskable interrupt", "PUT", "vm.nmi"),
  pause: plain("pause the VM", "PUT", "vm.pause"),
  ping: plain("ask the VMM for a sign of life", "GET", "vmm.ping"),
  "power-button": plain("press the VM's power button", "PUT", "vm.power-button"),
  reboot: plain("reboot the VM", "PUT", "vm.reboot"),
  "receive-migration": configured(
    "receive a VM from another VMM",
    "vm.receive-migration",
    receiveMigrationSchema,
    needed("receive_migration_config", "where from"),
    ({ vfio_fds: vfio, iommufd_fd: iommufd, ...rest }) => {
      validateReceiveMigration(rest);
      const ids = idsOnly(vfio);
      return { config: { ...rest, ...(ids && { vfio_fds: ids }) }, fds: vfioFds(vfio, iommufd) };
    },
  ),
  "remove-device": named("remove a device", "vm.remove-device", needed("id", "id of the device"), (id) =>
    encodeJson(removeDeviceSchema, { id }),
  ),
  resize: {
    doc: "change the number of vCPUs or the amount of memory",
    arguments: [
      option("--cpus", "how many vCPUs there are to be", "optional"),
      option("--memory", "how much RAM there is to be", "optional"),
      option("--balloon", "how much RAM the balloon is to take", "optional"),
    ],
    request: (values) => {
      const cpus = number(values, "--cpus", u32);
      const ram = number(values, "--memory", size);
      const balloon = number(values, "--balloon", size);
      const config = {
        ...(cpus !== undefined && { desired_vcpus: cpus }),
        ...(ram !== undefined && { desired_ram: ram }),
        ...(balloon !== undefined && { desired_balloon: balloon }),
      };
      return { method: "PUT", endpoint: "vm.resize", body: encodeJson(resizeSchema, config) };
    },
  },
  "resize-disk": {
    doc: "change the size of a disk",
    arguments: [option("--disk", "id of the disk", "needed"), option("--size", "its new size", "needed")],
    request: (values) => {
      const id = given(values, "--disk");
      const desired_size = number(values, "--size", size);
      if (desired_size === undefined) throw new MissingArgumentError("--size");
      return { method: "PUT", endpoint: "vm.resize-disk", body: encodeJson(resizeDiskSchema, { id, desired_size }) };
    },
  },
  "resize-zone": {
    doc: "change the size of a memory zone",
    arguments: [
      option("--id", "id of the zone", "needed"),
      option("--size", "its new size, that at boot included", "needed"),
    ],
    request: (values) => {
      const id = given(values, "--id");
      const desired_ram = number(values, "--size", size);
      if (desired_ram === undefined) throw new MissingArgumentError("--size");
      return { method: "PUT", endpoint: "vm.resize-zone", body: encodeJson(resizeZoneSchema, { id, desired_ram }) };
    },
  },
  restore: configured(
    "restore a VM from a snapshot",
    "vm.restore",
    restoreSchema,
    { name: "restore_config", doc: "the snapshot", presence: "required" },
    ({ net_fds: nets, vfio_fds: vfio, iommufd_fd: iommufd, ...rest }) => {
      const ids = idsOnly(vfio);
      const counts = nets?.map(({ id, num_fds }) => ({ id, num_fds }));
      return {
        config: { ...rest, ...(counts && { net_fds: counts }), ...(ids && { vfio_fds: ids }) },
        fds: [...(nets ?? []).flatMap(({ fds }) => fds ?? []), ...vfioFds(vfio, iommufd)],
      };
    },
  ),
  resume: plain("let the paused VM go on", "PUT", "vm.resume"),
  "send-migration": configured(
    "send the VM to another VMM",
    "vm.send-migration",
    sendMigrationSchema,
    needed("send_migration_config", "where to"),
    (config) => {
      validateSendMigration(config);
      return { config, fds: [] };
    },
  ),
  shutdown: plain("pull the VM's power cord", "PUT", "vm.shutdown"),
  "shutdown-vmm": plain("end the VMM", "PUT", "vmm.shutdown"),
  snapshot: named(
    "write a snapshot of the paused VM",
    "vm.snapshot",
    { name: "snapshot_config", doc: "file://<existing directory>", presence: "required" },
    (destination_url) => encodeJson(snapshotSchema, { destination_url }),
  ),
  top: {
    doc: "watch what the VM does, on the whole terminal; q ends it",
    arguments: [
      {
        ...option("--batch", "print plain lines, as where the output is no terminal", "optional"),
        short: "-b",
        flag: true,
      },
      { ...option("--iterations", "how often to look; without it, until it is ended", "optional"), short: "-n" },
      { ...option("--interval", "seconds from one look to the next, 2 without it", "optional"), short: "-d" },
    ],
    run: async (socket, values) => (await import("./top/top.ts")).top(socket, values),
  },
} as const satisfies Record<string, Command>;

const STDIN = 0;

function readDocument(path: string): string {
  try {
    return process.getBuiltinModule("node:fs").readFileSync(path === "-" ? STDIN : path, "utf8");
  } catch (cause) {
    throw new CommandValueError(`cannot read ${path === "-" ? "standard input" : path}`, { cause });
  }
}
