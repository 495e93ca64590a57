import { hostArch } from "../arch.ts";
import { Expected } from "../grammar/errors.ts";
import { parseInteger, U16 } from "../grammar/integers.ts";
import { unquote } from "../grammar/text.ts";
import { type Config, composed, objectSchema, optional, required, withDefault } from "./object-schema.ts";
import type { ReadableType } from "./value-type.ts";
import { bool, integerList, oneOf, pairs, stringList, u8, u16, u32 } from "./value-types.ts";

export const cpuTopologySchema = objectSchema("CpuTopology", () => ({
  threads_per_core: required(u16, "threads of a core"),
  cores_per_die: required(u16, "cores of a die"),
  dies_per_package: required(u16, "dies of a package"),
  packages: required(u16, "packages (sockets)"),
}));
export type CpuTopology = Config<typeof cpuTopologySchema>;

export const cpuAffinitySchema = objectSchema("CpuAffinity", () => ({
  vcpu: required(u32, "virtual CPU"),
  host_cpus: required(integerList("usize"), "host CPUs it may run on"),
}));
export type CpuAffinity = Config<typeof cpuAffinitySchema>;

export const cpuFeaturesSchema = objectSchema("CpuFeatures", () => ({
  amx: withDefault(bool, false, "Advanced Matrix Extensions"),
}));
export type CpuFeatures = Config<typeof cpuFeaturesSchema>;

const topology: ReadableType<CpuTopology> = {
  label: "<threads:cores:dies:packages>",
  json: { kind: "object", schema: cpuTopologySchema },
  parse: (raw) => {
    const expected = "four numbers threads:cores:dies:packages, such as 1:4:1:1";
    const parts = unquote(raw).split(":");
    if (parts.length !== 4) throw new Expected(expected);
    const [threads_per_core = 0, cores_per_die = 0, dies_per_package = 0, packages = 0] = parts.map((part) =>
      parseInteger(part, U16),
    );
    return { threads_per_core, cores_per_die, dies_per_package, packages };
  },
};

const affinity = pairs<number, readonly number[], CpuAffinity>({
  label: "<[vcpu@[cpu,cpu-cpu]]>",
  json: { kind: "object", schema: cpuAffinitySchema },
  key: u32,
  value: integerList("usize"),
  make: (vcpu, host_cpus) => ({ vcpu, host_cpus }),
});

export const cpusSchema = objectSchema("CpusConfig", () => ({
  boot_vcpus: withDefault(u32, 1, "virtual CPUs at boot", { key: "boot", json: { required: true } }),
  max_vcpus: composed<number, "present">(
    "present",
    u32.json,
    "most virtual CPUs that hotplug can reach",
    [{ name: "max", label: u32.label, doc: "most virtual CPUs that hotplug can reach", defaultText: "boot" }],
    (given) => given.value("max", u32.parse) ?? given.value("boot", u32.parse),
    { initial: 1, traits: { required: true } },
  ),
  topology: optional(topology, "how the virtual CPUs are grouped; the product must be max"),
  kvm_hyperv: withDefault(bool, false, "offer Hyper-V enlightenments to the guest"),
  max_phys_bits: withDefault(u8, 46, "width of guest physical addresses, limited by the host's"),
  affinity: optional(affinity, "host CPUs that each virtual CPU may run on"),
  features: composed<CpuFeatures, "present">(
    "present",
    { kind: "object", schema: cpuFeaturesSchema },
    "additional CPU features",
    [{ name: "features", label: "<[amx]>", doc: "additional CPU features (amx: x86_64 only)" }],
    (given) => {
      const names = given.value("features", stringList.parse);
      if (names === undefined) return undefined;
      for (const name of names) {
        if (name !== "amx") given.invalid(`unknown CPU feature '${name}', known: amx`);
        if (hostArch() !== "x86_64") given.invalid("CPU feature 'amx' exists on x86_64 only");
      }
      return { amx: true };
    },
    { initial: { amx: false } },
  ),
  nested: withDefault(bool, true, "offer nested virtualisation to the guest"),
  core_scheduling: withDefault(
    oneOf({ vm: "Vm", vcpu: "Vcpu", off: "Off" }),
    "Vm",
    "which threads may share a physical core: those of this VM, those of one vCPU, any",
  ),
  profile: withDefault(oneOf({ Host: "Host" }, "exact"), "Host", "CPU profile", {
    hidden: true,
    json: { undocumented: true },
  }),
}));
export type CpusConfig = Config<typeof cpusSchema>;
