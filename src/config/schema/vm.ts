import { consoleSchema, type DebugConsoleConfig, debugConsoleSchema, serialSchema } from "./consoles.ts";
import { cpusSchema } from "./cpus.ts";
import { diskSchema } from "./disk.ts";
import { deviceSchema, ivshmemSchema, tpmSchema, userDeviceSchema } from "./host-devices.ts";
import { landlockSchema } from "./landlock.ts";
import { memorySchema } from "./memory.ts";
import { netSchema } from "./net.ts";
import { numaSchema } from "./numa.ts";
import {
  type Config,
  type ConfigOf,
  defaultsOf,
  type JsonTraits,
  jsonOnly,
  type Member,
  type Members,
  type ObjectSchema,
  objectSchema,
} from "./object-schema.ts";
import { payloadSchema } from "./payload.ts";
import { pciSegmentSchema, platformSchema } from "./platform.ts";
import { rateLimitGroupSchema } from "./rate-limiter.ts";
import {
  balloonSchema,
  fsSchema,
  genericVhostUserSchema,
  pmemSchema,
  rngSchema,
  rtcSchema,
  vdpaSchema,
  vsockSchema,
} from "./virtio-devices.ts";

type Of<M extends Members, P extends "present" | "optional"> = Member<ConfigOf<M>, P>;

/**
 * An object that every VM has.
 * @param rest the default of what the schema has no default for, so that with it the object is whole
 */
function always<M extends Members>(
  schema: ObjectSchema<M>,
  doc: string,
  rest: Partial<ConfigOf<M>> = {},
): Of<M, "present"> {
  const initial = { ...defaultsOf(schema), ...rest } as ConfigOf<M>;
  return jsonOnly("present", { kind: "object", schema }, doc, { initial });
}

/** An object that a VM may have. */
function maybe<M extends Members>(schema: ObjectSchema<M>, doc: string, traits: JsonTraits = {}): Of<M, "optional"> {
  return jsonOnly("optional", { kind: "object", schema }, doc, { traits });
}

/** Any number of objects; unset stands for none. */
function several<M extends Members>(schema: ObjectSchema<M>, doc: string): Member<readonly ConfigOf<M>[], "optional"> {
  return jsonOnly("optional", { kind: "array", items: { kind: "object", schema } }, doc);
}

function flag(doc: string, traits: JsonTraits = {}): Member<boolean, "present"> {
  return jsonOnly("present", { kind: "boolean" }, doc, { initial: false, traits });
}

const pvmemcontrolSchema = objectSchema("PvmemcontrolConfig", () => ({}));

/** A whole virtual machine. The members' order is that of the REST API's output. */
export const vmSchema = objectSchema("VmConfig", () => ({
  cpus: always(cpusSchema, "virtual CPUs"),
  memory: always(memorySchema, "RAM"),
  payload: maybe(payloadSchema, "what is booted"),
  rate_limit_groups: several(rateLimitGroupSchema, "limits that several disks share"),
  disks: several(diskSchema, "disks"),
  net: several(netSchema, "network devices"),
  rng: always(rngSchema, "entropy device"),
  balloon: maybe(balloonSchema, "memory balloon"),
  generic_vhost_user: several(genericVhostUserSchema, "vhost-user devices of any type"),
  fs: several(fsSchema, "shared file systems"),
  pmem: several(pmemSchema, "persistent memory"),
  serial: always(serialSchema, "serial port", { mode: "Null" }),
  console: always(consoleSchema, "virtio console", { mode: "Tty" }),
  debug_console: jsonOnly<DebugConsoleConfig, "optional">(
    "optional",
    { kind: "object", schema: debugConsoleSchema },
    "debug console (x86_64)",
    { initial: { mode: "Off", iobase: 0xe9 }, traits: { arch: "x86_64" } },
  ),
  devices: several(deviceSchema, "VFIO devices"),
  user_devices: several(userDeviceSchema, "vfio-user devices"),
  vdpa: several(vdpaSchema, "vDPA devices"),
  vsock: maybe(vsockSchema, "socket device"),
  pvmemcontrol: maybe(pvmemcontrolSchema, "pvmemcontrol device", { feature: "pvmemcontrol", undocumented: true }),
  pvpanic: flag("panic notification device"),
  iommu: flag("virtual IOMMU, which there is as soon as a device or segment needs it"),
  numa: several(numaSchema, "NUMA nodes"),
  watchdog: flag("watchdog device"),
  rtc: maybe(rtcSchema, "virtio clock device"),
  gdb: jsonOnly<boolean, "optional">("optional", { kind: "boolean" }, "stop before the first instruction", {
    traits: { feature: "guest_debug", undocumented: true },
  }),
  pci_segments: several(pciSegmentSchema, "aperture weights of PCI segments"),
  platform: maybe(platformSchema, "properties of the machine"),
  tpm: maybe(tpmSchema, "TPM"),
  landlock_enable: flag("restrict the VMM's own file access"),
  landlock_rules: several(landlockSchema, "paths that stay accessible"),
  ivshmem: maybe(ivshmemSchema, "shared memory device", { feature: "ivshmem", undocumented: true }),
}));
export type VmConfig = Config<typeof vmSchema>;
