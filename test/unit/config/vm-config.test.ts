import { describe, expect, test } from "bun:test";
import { ConfigurationError, OptionError } from "../../../src/config/errors.ts";
import { UnknownKeyError } from "../../../src/config/grammar/errors.ts";
import type { OptionName } from "../../../src/config/options.ts";
import { readVmConfig } from "../../../src/config/vm-config.ts";
import { configOf, given, type Options, read, thrown } from "./command-line.ts";

/** What the REST API answers for a VM configured with nothing but a payload (x86-64). */
const DEFAULT_DOCUMENT = {
  cpus: {
    boot_vcpus: 1,
    max_vcpus: 1,
    kvm_hyperv: false,
    max_phys_bits: 46,
    features: { amx: false },
    nested: true,
    core_scheduling: "Vm",
    profile: "Host",
  },
  memory: {
    size: 536870912,
    mergeable: false,
    hotplug_method: "Acpi",
    shared: false,
    hugepages: false,
    prefault: false,
    reserve: false,
    thp: true,
  },
  payload: { kernel: "k" },
  rng: { iommu: false, pci_segment: 0, src: "/dev/urandom" },
  serial: { mode: "Null" },
  console: { mode: "Tty", iommu: false, pci_segment: 0 },
  debug_console: { mode: "Off", iobase: 233 },
  pvpanic: false,
  iommu: false,
  watchdog: false,
  landlock_enable: false,
};

describe("a VM from options", () => {
  test("has the defaults of the REST API", () => expect<unknown>(configOf()).toEqual(DEFAULT_DOCUMENT));

  test("has no debug console on AArch64", () => {
    const { debug_console: _, ...rest } = DEFAULT_DOCUMENT;
    expect<unknown>(configOf({}, "aarch64")).toEqual(rest);
  });

  const cases: readonly (readonly [Options, object])[] = [
    [{ kernel: [], firmware: ["f"] }, { payload: { firmware: "f" } }],
    [
      { kernel: [""], cmdline: ["console=hvc0 a=b,c"], initramfs: ["i"], igvm: ["g"], "host-data": ["h"] },
      { payload: { kernel: "", cmdline: "console=hvc0 a=b,c", initramfs: "i", igvm: "g", host_data: "h" } },
    ],
    [{ rng: [] }, { rng: DEFAULT_DOCUMENT.rng }],
    [{ rng: ["id=r"] }, { rng: { ...DEFAULT_DOCUMENT.rng, id: "r" } }],
    [{ rtc: [] }, { rtc: { iommu: false, pci_segment: 0 } }],
    [{ rtc: [""] }, { rtc: { iommu: false, pci_segment: 0 } }],
    [
      { watchdog: [], pvpanic: [], landlock: [], pvmemcontrol: [] },
      { watchdog: true, pvpanic: true, landlock_enable: true, pvmemcontrol: {} },
    ],
    [{ gdb: ["path=/g"] }, { gdb: true }],
    // A given option replaces the whole default text.
    [{ cpus: ["boot=2"] }, { cpus: { ...DEFAULT_DOCUMENT.cpus, boot_vcpus: 2, max_vcpus: 2 } }],
    [{ "debug-console": ["tty"] }, { debug_console: { mode: "Tty", iobase: 0xe9 } }],
    [{ tpm: ["socket=/s"] }, { tpm: { socket: "/s" } }],
    [{ "landlock-rules": ["path=/p,access=r"] }, { landlock_rules: [{ path: "/p", access: "r" }] }],
  ];
  for (const [options, members] of cases)
    test(JSON.stringify(options), () =>
      expect<unknown>(configOf(options)).toEqual({ ...DEFAULT_DOCUMENT, ...members }),
    );

  test("values of a repeatable option keep their order", () =>
    expect(configOf({ disk: ["path=a", "path=b", "path=c"] }).disks?.map(({ path }) => path)).toEqual(["a", "b", "c"]));

  test("a zone's mergeable defaults to that of --memory", () => {
    const zones = (memory: string) =>
      configOf({ memory: [memory], "memory-zone": ["id=a", "id=b,mergeable=off", "id=c,mergeable=on"] }).memory.zones;
    expect(zones("size=0,mergeable=on")?.map(({ mergeable }) => mergeable)).toEqual([true, false, true]);
    expect(zones("size=0")?.map(({ mergeable }) => mergeable)).toEqual([false, false, true]);
  });

  test("deprecated keys of any option make warnings", () =>
    expect(read({ platform: ["uuid=u"] }).warnings).toEqual(["key 'uuid' is deprecated, use 'system_uuid'"]));

  test("the amx feature is known on x86-64 only", () => {
    if (process.arch === "x64") expect(configOf({ cpus: ["features=[amx]"] }).cpus.features.amx).toBe(true);
    else expect(() => configOf({ cpus: ["features=[amx]"] })).toThrow(ConfigurationError);
  });
});

describe("errors", () => {
  test("are chained from the configuration to the option to the key", () => {
    const error = thrown(() => configOf({ disk: ["path=a", "colour=red"] }));
    if (!(error instanceof ConfigurationError)) return expect.unreachable();
    const { cause } = error;
    if (!(cause instanceof OptionError)) return expect.unreachable();
    expect(cause.option).toBe("--disk");
    expect(cause.cause).toBeInstanceOf(UnknownKeyError);
  });

  /** The order in which options are read. */
  const ORDER: readonly OptionName[] = [
    "rate-limit-group",
    "disk",
    "fw-cfg-config",
    "net",
    "rng",
    "rtc",
    "balloon",
    "fs",
    "generic-vhost-user",
    "pmem",
    "console",
    "serial",
    "debug-console",
    "device",
    "user-device",
    "vdpa",
    "vsock",
    "pci-segment",
    "platform",
    "numa",
    "tpm",
    "landlock-rules",
    "ivshmem",
    "cpus",
    "memory",
    "memory-zone",
  ];
  test("are those of the first wrong option in a fixed order", () => {
    for (let first = 0; first < ORDER.length; first++) {
      const wrong = Object.fromEntries(ORDER.slice(first).map((name) => [name, ["no-such-key"]]));
      const error = thrown(() => readVmConfig(given({ kernel: ["k"], ...wrong }), "x86_64"));
      expect(error instanceof Error && error.cause instanceof OptionError && error.cause.option).toBe(
        `--${ORDER[first]}`,
      );
    }
  });
});
