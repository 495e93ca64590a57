import type { Arch } from "./arch.ts";
import { consoleSchema, debugConsoleSchema, serialSchema } from "./schema/consoles.ts";
import { cpusSchema } from "./schema/cpus.ts";
import { diskSchema } from "./schema/disk.ts";
import { deviceSchema, ivshmemSchema, tpmSchema, userDeviceSchema } from "./schema/host-devices.ts";
import { landlockSchema } from "./schema/landlock.ts";
import { memorySchema, memoryZoneSchema } from "./schema/memory.ts";
import { netSchema } from "./schema/net.ts";
import { numaSchema } from "./schema/numa.ts";
import type { Feature, ObjectSchema } from "./schema/object-schema.ts";
import { fwCfgSchema } from "./schema/payload.ts";
import { pciSegmentSchema, platformSchema } from "./schema/platform.ts";
import { rateLimitGroupSchema } from "./schema/rate-limiter.ts";
import { restoreSchema } from "./schema/restore.ts";
import {
  balloonSchema,
  fsSchema,
  genericVhostUserSchema,
  pmemSchema,
  rngSchema,
  rtcSchema,
  vdpaSchema,
  vsockSchema,
} from "./schema/virtio-devices.ts";
import { apiSocketSchema, eventMonitorSchema, gdbSchema } from "./schema/vmm.ts";

/**
 * How many values an option takes: `flag` none, `one` exactly one, `optional` at most one, `many` one or more and the option
 * may be repeated, `count` none and it is the number of repetitions that counts.
 */
export type Arity = "flag" | "one" | "optional" | "many" | "count";

/** `payload`: what to boot. `vm`: needs a payload option beside it. The others stand for themselves. */
export type OptionGroup = "payload" | "vm" | "vmm" | "logging" | "general";

export interface OptionSpec {
  /** Without dashes; one letter for an option that has no long form. */
  readonly name: string;
  /** The letter of a one-dash form beside the long one. */
  readonly short?: string;
  readonly arity: Arity;
  readonly group: OptionGroup;
  readonly doc: string;
  /** What stands for the value in help, unless `schema` says it. */
  readonly label?: string;
  /** The value's keys. */
  readonly schema?: ObjectSchema;
  /** The only values allowed, to the letter. */
  readonly choices?: readonly string[];
  /** The value when the option is not given. */
  readonly defaultText?: string;
  /** The one architecture that has the option. */
  readonly arch?: Arch;
  readonly feature?: Feature;
}

const PATH = "<path>";

/** Every option of `cloud-hypervisor`. */
export const OPTIONS = [
  { name: "kernel", arity: "one", group: "payload", label: PATH, doc: "kernel or PVH firmware to boot" },
  { name: "firmware", arity: "one", group: "payload", label: PATH, doc: "firmware to boot" },
  { name: "igvm", arity: "one", group: "payload", label: PATH, doc: "IGVM file to boot", feature: "igvm" },
  {
    name: "fw-cfg-config",
    arity: "one",
    group: "payload",
    schema: fwCfgSchema,
    doc: "content of the fw_cfg device",
    feature: "fw_cfg",
  },
  { name: "initramfs", arity: "one", group: "vm", label: PATH, doc: "initramfs for the kernel" },
  { name: "cmdline", arity: "one", group: "vm", label: "<string>", doc: "kernel command line" },
  {
    name: "host-data",
    arity: "one",
    group: "vm",
    label: "<string>",
    doc: "SEV-SNP host data, 64 characters",
    feature: "sev_snp",
  },
  {
    name: "cpus",
    arity: "one",
    group: "vm",
    schema: cpusSchema,
    doc: "virtual CPUs",
    defaultText: "boot=1,max_phys_bits=46",
  },
  {
    name: "memory",
    arity: "one",
    group: "vm",
    schema: memorySchema,
    doc: "RAM of the guest",
    defaultText: "size=512M",
  },
  { name: "memory-zone", arity: "many", group: "vm", schema: memoryZoneSchema, doc: "a part of the RAM of its own" },
  { name: "numa", arity: "many", group: "vm", schema: numaSchema, doc: "NUMA node of the guest" },
  { name: "platform", arity: "one", group: "vm", schema: platformSchema, doc: "properties of the machine" },
  { name: "pci-segment", arity: "many", group: "vm", schema: pciSegmentSchema, doc: "aperture of a PCI segment" },
  { name: "disk", arity: "many", group: "vm", schema: diskSchema, doc: "disk (virtio-blk or vhost-user-blk)" },
  { name: "net", arity: "many", group: "vm", schema: netSchema, doc: "network device (virtio-net or vhost-user-net)" },
  {
    name: "rate-limit-group",
    arity: "many",
    group: "vm",
    schema: rateLimitGroupSchema,
    doc: "I/O limits that several disks share",
  },
  {
    name: "rng",
    arity: "optional",
    group: "vm",
    schema: rngSchema,
    doc: "entropy device (virtio-rng), always present",
    defaultText: "src=/dev/urandom",
  },
  { name: "serial", arity: "one", group: "vm", schema: serialSchema, doc: "serial port", defaultText: "null" },
  { name: "console", arity: "one", group: "vm", schema: consoleSchema, doc: "virtio console", defaultText: "tty" },
  {
    name: "debug-console",
    arity: "one",
    group: "vm",
    schema: debugConsoleSchema,
    doc: "debug output port",
    defaultText: "off,iobase=0xe9",
    arch: "x86_64",
  },
  { name: "balloon", arity: "one", group: "vm", schema: balloonSchema, doc: "memory balloon (virtio-balloon)" },
  { name: "fs", arity: "many", group: "vm", schema: fsSchema, doc: "shared file system (virtio-fs)" },
  { name: "pmem", arity: "many", group: "vm", schema: pmemSchema, doc: "persistent memory (virtio-pmem)" },
  { name: "vsock", arity: "one", group: "vm", schema: vsockSchema, doc: "socket device (virtio-vsock)" },
  { name: "vdpa", arity: "many", group: "vm", schema: vdpaSchema, doc: "vDPA device" },
  { name: "device", arity: "many", group: "vm", schema: deviceSchema, doc: "host device (VFIO)" },
  { name: "user-device", arity: "many", group: "vm", schema: userDeviceSchema, doc: "vfio-user device" },
  {
    name: "generic-vhost-user",
    arity: "many",
    group: "vm",
    schema: genericVhostUserSchema,
    doc: "vhost-user device of any type",
  },
  { name: "rtc", arity: "optional", group: "vm", schema: rtcSchema, doc: "clock device (virtio-rtc)" },
  { name: "tpm", arity: "one", group: "vm", schema: tpmSchema, doc: "TPM, emulated by swtpm" },
  { name: "watchdog", arity: "flag", group: "vm", doc: "watchdog device (virtio-watchdog)" },
  { name: "pvpanic", arity: "flag", group: "vm", doc: "panic notification device (pvpanic)" },
  {
    name: "pvmemcontrol",
    arity: "flag",
    group: "vm",
    doc: "memory control device (pvmemcontrol)",
    feature: "pvmemcontrol",
  },
  {
    name: "ivshmem",
    arity: "one",
    group: "vm",
    schema: ivshmemSchema,
    doc: "shared memory device (ivshmem)",
    feature: "ivshmem",
  },
  { name: "landlock", arity: "flag", group: "vm", doc: "restrict the VMM's own file access (Landlock)" },
  { name: "landlock-rules", arity: "many", group: "vm", schema: landlockSchema, doc: "path that stays accessible" },
  { name: "restore", arity: "one", group: "vmm", schema: restoreSchema, doc: "restore a VM from a snapshot" },
  { name: "api-socket", arity: "one", group: "vmm", schema: apiSocketSchema, doc: "socket of the HTTP API" },
  { name: "event-monitor", arity: "one", group: "vmm", schema: eventMonitorSchema, doc: "where to report events" },
  {
    name: "gdb",
    arity: "one",
    group: "vmm",
    schema: gdbSchema,
    doc: "wait for a debugger before the first instruction",
    feature: "guest_debug",
  },
  {
    name: "dbus-service-name",
    arity: "one",
    group: "vmm",
    label: "<name>",
    doc: "D-Bus well-known name; needs --dbus-object-path",
    feature: "dbus_api",
  },
  {
    name: "dbus-object-path",
    arity: "one",
    group: "vmm",
    label: PATH,
    doc: "D-Bus object path; needs --dbus-service-name",
    feature: "dbus_api",
  },
  {
    name: "dbus-system-bus",
    arity: "flag",
    group: "vmm",
    doc: "use the D-Bus system bus, not the session bus",
    feature: "dbus_api",
  },
  { name: "no-shutdown", arity: "flag", group: "vmm", doc: "keep the VMM when the guest powers off" },
  {
    name: "seccomp",
    arity: "one",
    group: "general",
    choices: ["true", "false", "log", "errno"],
    defaultText: "true",
    doc: "system call filter: true ends the process on a forbidden call, log only logs it, errno lets it fail",
  },
  { name: "log-file", arity: "one", group: "logging", label: PATH, doc: "log to a file instead of standard error" },
  { name: "log-format", arity: "one", group: "logging", label: "<template>", doc: "template of a log line" },
  {
    name: "v",
    arity: "count",
    group: "logging",
    doc: "log more: -v information, -vv debugging, -vvv traces; without it warnings and errors",
  },
  { name: "help", short: "h", arity: "flag", group: "general", doc: "print this help" },
  { name: "version", short: "V", arity: "flag", group: "general", doc: "print the version" },
] as const satisfies readonly OptionSpec[];

export type OptionName = (typeof OPTIONS)[number]["name"];

/** The options of an architecture. */
export function optionsOf(arch: Arch): readonly (OptionSpec & { readonly name: OptionName })[] {
  return OPTIONS.filter((option) => !("arch" in option) || option.arch === arch);
}

/** The options found on a command line, with their values in the order given. */
export class GivenOptions {
  readonly #values: ReadonlyMap<OptionName, readonly string[]>;

  constructor(values: ReadonlyMap<OptionName, readonly string[]>) {
    this.#values = values;
  }

  has(name: OptionName): boolean {
    return this.#values.has(name);
  }

  /** The value of an option, undefined when it was not given or given without one. */
  text(name: OptionName): string | undefined {
    return this.#values.get(name)?.[0];
  }

  /** The values of a repeatable option. */
  texts(name: OptionName): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** The names of all options given. */
  names(): Iterable<OptionName> {
    return this.#values.keys();
  }
}

/** `boot`: a VM from the options. `restore`: a VM from a snapshot. `idle`: no VM until the API makes one. */
export type Start = "boot" | "restore" | "idle";

/** What a command line asks for. A payload wins over a snapshot; fw_cfg content alone is nothing to boot. */
export function startOf(options: GivenOptions): Start {
  if (options.has("kernel") || options.has("firmware") || options.has("igvm")) return "boot";
  return options.has("restore") ? "restore" : "idle";
}
