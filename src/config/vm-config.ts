import { type Arch, hostArch } from "./arch.ts";
import { ConfigurationError } from "./errors.ts";
import { type GivenOptions, OPTIONS, type OptionName } from "./options.ts";
import { consoleSchema, debugConsoleSchema, serialSchema } from "./schema/consoles.ts";
import { cpusSchema } from "./schema/cpus.ts";
import { diskSchema } from "./schema/disk.ts";
import { deviceSchema, ivshmemSchema, tpmSchema, userDeviceSchema } from "./schema/host-devices.ts";
import { landlockSchema } from "./schema/landlock.ts";
import { memorySchema, memoryZoneSchema } from "./schema/memory.ts";
import { netSchema } from "./schema/net.ts";
import { numaSchema } from "./schema/numa.ts";
import { type ConfigOf, type Members, type ObjectSchema, parseOption } from "./schema/object-schema.ts";
import { fwCfgSchema, type PayloadConfig } from "./schema/payload.ts";
import { pciSegmentSchema, platformSchema } from "./schema/platform.ts";
import { rateLimitGroupSchema } from "./schema/rate-limiter.ts";
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
import type { VmConfig } from "./schema/vm.ts";
import { inOption } from "./vmm-options.ts";

/** A configuration, and what the user should know about it although nothing is wrong. */
export interface ConfigWithWarnings {
  readonly config: VmConfig;
  readonly warnings: readonly string[];
}

/** `{ [name]: value }`, or nothing when there is no value: unset members are absent. */
function set<K extends string, T>(name: K, value: T | undefined): { readonly [P in K]?: T } {
  // An object with one computed key of a literal type is not typed as such.
  return (value === undefined ? {} : { [name]: value }) as { readonly [P in K]?: T };
}

/** Reads options into configuration objects, collecting warnings. */
class OptionReader {
  readonly warnings: string[] = [];
  readonly #options: GivenOptions;

  constructor(options: GivenOptions) {
    this.#options = options;
  }

  /** One object, from the option's default text when it is not given. */
  always<M extends Members>(name: OptionName, schema: ObjectSchema<M>): ConfigOf<M> {
    const spec = OPTIONS.find((option) => option.name === name);
    const initial = spec !== undefined && "defaultText" in spec ? spec.defaultText : "";
    return this.#read(name, schema, this.#options.text(name) ?? initial);
  }

  /** One object when the option is given. */
  maybe<M extends Members>(name: OptionName, schema: ObjectSchema<M>): ConfigOf<M> | undefined {
    return this.#options.has(name) ? this.#read(name, schema, this.#options.text(name) ?? "") : undefined;
  }

  /** One object per value of the option; undefined when it is not given. */
  several<M extends Members>(
    name: OptionName,
    schema: ObjectSchema<M>,
    defaults: Partial<ConfigOf<M>> = {},
  ): readonly ConfigOf<M>[] | undefined {
    if (!this.#options.has(name)) return undefined;
    return this.#options.texts(name).map((text) => this.#read(name, schema, text, defaults));
  }

  #read<M extends Members>(
    name: OptionName,
    schema: ObjectSchema<M>,
    text: string,
    defaults: Partial<ConfigOf<M>> = {},
  ): ConfigOf<M> {
    return inOption(`--${name}`, () => parseOption(schema, text, this.warnings, defaults));
  }
}

/** The members of `VmConfig` in the order in which their options are read: the first error in this order is reported. */
function readOptions(options: GivenOptions, reader: OptionReader, arch: Arch): VmConfig {
  const rateLimitGroups = reader.several("rate-limit-group", rateLimitGroupSchema);
  const disks = reader.several("disk", diskSchema);
  const fwCfg = reader.maybe("fw-cfg-config", fwCfgSchema);
  const net = reader.several("net", netSchema);
  const rng = reader.always("rng", rngSchema);
  const rtc = reader.maybe("rtc", rtcSchema);
  const balloon = reader.maybe("balloon", balloonSchema);
  const fs = reader.several("fs", fsSchema);
  const genericVhostUser = reader.several("generic-vhost-user", genericVhostUserSchema);
  const pmem = reader.several("pmem", pmemSchema);
  const virtioConsole = reader.always("console", consoleSchema);
  const serial = reader.always("serial", serialSchema);
  const debugConsole = arch === "x86_64" ? reader.always("debug-console", debugConsoleSchema) : undefined;
  const devices = reader.several("device", deviceSchema);
  const userDevices = reader.several("user-device", userDeviceSchema);
  const vdpa = reader.several("vdpa", vdpaSchema);
  const vsock = reader.maybe("vsock", vsockSchema);
  const pciSegments = reader.several("pci-segment", pciSegmentSchema);
  const platform = reader.maybe("platform", platformSchema);
  const numa = reader.several("numa", numaSchema);
  const tpm = reader.maybe("tpm", tpmSchema);
  const landlockRules = reader.several("landlock-rules", landlockSchema);
  const ivshmem = reader.maybe("ivshmem", ivshmemSchema);
  const cpus = reader.always("cpus", cpusSchema);
  const memory = reader.always("memory", memorySchema);
  const zones = reader.several("memory-zone", memoryZoneSchema, { mergeable: memory.mergeable });
  const payload: PayloadConfig = {
    ...set("firmware", options.text("firmware")),
    ...set("kernel", options.text("kernel")),
    ...set("cmdline", options.text("cmdline")),
    ...set("initramfs", options.text("initramfs")),
    ...set("igvm", options.text("igvm")),
    ...set("host_data", options.text("host-data")),
    ...set("fw_cfg_config", fwCfg),
  };
  return {
    cpus,
    memory: { ...memory, ...set("zones", zones) },
    payload,
    ...set("rate_limit_groups", rateLimitGroups),
    ...set("disks", disks),
    ...set("net", net),
    rng,
    ...set("balloon", balloon),
    ...set("generic_vhost_user", genericVhostUser),
    ...set("fs", fs),
    ...set("pmem", pmem),
    serial,
    console: virtioConsole,
    ...set("debug_console", debugConsole),
    ...set("devices", devices),
    ...set("user_devices", userDevices),
    ...set("vdpa", vdpa),
    ...set("vsock", vsock),
    ...set("pvmemcontrol", options.has("pvmemcontrol") ? {} : undefined),
    pvpanic: options.has("pvpanic"),
    iommu: false,
    ...set("numa", numa),
    watchdog: options.has("watchdog"),
    ...set("rtc", rtc),
    ...set("gdb", options.has("gdb") ? true : undefined),
    ...set("pci_segments", pciSegments),
    ...set("platform", platform),
    ...set("tpm", tpm),
    landlock_enable: options.has("landlock"),
    ...set("landlock_rules", landlockRules),
    ...set("ivshmem", ivshmem),
  };
}

/**
 * The virtual machine that the options of a command line describe, defaults filled in, not yet validated.
 * @throws ConfigurationError whose causes name the option and say what is wrong with it
 */
export function readVmConfig(options: GivenOptions, arch: Arch = hostArch()): ConfigWithWarnings {
  const reader = new OptionReader(options);
  try {
    return { config: readOptions(options, reader, arch), warnings: reader.warnings };
  } catch (error) {
    throw new ConfigurationError("error parsing the configuration of the VM", { cause: error });
  }
}
