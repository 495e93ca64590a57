import { describe, expect, test } from "bun:test";
import { UnsupportedError } from "../../../src/config/errors.ts";
import { refuseUnsupportedConfig, refuseUnsupportedOptions } from "../../../src/config/supported.ts";
import { validateVmConfig } from "../../../src/config/validate/validate.ts";
import { configOf, given, type Options, thrown } from "./command-line.ts";

/** What the options ask for that does not exist, of a valid configuration. */
function refused(options: Options): readonly string[] {
  const { config } = validateVmConfig(configOf(options), { arch: "x86_64", hypervisor: "kvm" });
  try {
    refuseUnsupportedConfig(config);
    return [];
  } catch (error) {
    if (error instanceof UnsupportedError) return error.features;
    throw error;
  }
}

describe("supported", () => {
  const cases: readonly Options[] = [
    {},
    {
      cpus: ["boot=4,max=4,topology=1:4:1:1,max_phys_bits=40,affinity=[0@0],nested=off,core_scheduling=off"],
      memory: ["size=1G,mergeable=on,hugepages=on,hugepage_size=2M,prefault=on,reserve=on,thp=off,hotplug_method=acpi"],
    },
    { memory: ["size=1G,shared=on"] },
    {
      disk: [
        "path=d,readonly=on,direct=on,num_queues=1,queue_size=256,serial=s,id=i,pci_device_id=3,image_type=raw," +
          "queue_affinity=[0@0],sparse=off,lock_granularity=full,_disable_io_uring=on,iommu=off,backing_files=off",
      ],
    },
    { net: ["tap=t,mac=2e:89:a8:e4:92:4d,ip=10.0.0.1,mask=255.0.0.0,mtu=9000,num_queues=2,offload_ufo=off", "fd=[3]"] },
    { rng: ["src=/dev/random"], serial: ["file=/f"], console: ["off"], "debug-console": ["tty"] },
    { serial: ["tty"], console: ["null"], "debug-console": ["file=/f"] },
    {
      platform: [
        "num_pci_segments=1,system_serial_number=s,system_uuid=u,oem_strings=[a],system_manufacturer=m," +
          "system_product_name=n,system_version=v,system_sku_number=k,system_family=f,chassis_asset_tag=t",
      ],
    },
    { initramfs: ["i"], cmdline: ["c"] },
    { rtc: [], watchdog: [], pvpanic: [] },
    { balloon: ["size=64M,deflate_on_oom=on,free_page_reporting=on,statistics=on"] },
  ];
  for (const options of cases) test(JSON.stringify(options), () => expect(refused(options)).toEqual([]));
});

describe("refused by name", () => {
  const cases: readonly (readonly [Options, string])[] = [
    [{ cpus: ["boot=1,max=2"] }, "--cpus max above boot"],
    [{ cpus: ["kvm_hyperv=on"] }, "--cpus kvm_hyperv"],
    [{ memory: ["hotplug_size=1G"] }, "--memory hotplug_size"],
    [{ memory: ["hotplug_method=virtio-mem"] }, "--memory hotplug_method=virtio-mem"],
    [{ "memory-zone": ["id=z"] }, "--memory-zone"],
    [{ numa: ["guest_numa_id=0,cpus=[0]"] }, "--numa"],
    [{ platform: ["num_pci_segments=2"] }, "--platform num_pci_segments"],
    [{ platform: ["iommufd=on"] }, "--platform iommufd"],
    [{ platform: ["iommu_segments=[0]"], console: ["tty,iommu=on"], rng: ["iommu=on"] }, "--platform iommu_segments"],
    [{ "pci-segment": ["pci_segment=0"] }, "--pci-segment"],
    [{ memory: ["shared=on"], disk: ["vhost_user=on,socket=s"] }, "--disk vhost_user"],
    [{ disk: ["socket=s"] }, "--disk socket"],
    [{ disk: ["path=p,image_type=vmdk"] }, "--disk image_type=vmdk"],
    [{ disk: ["path=p", "path=q,iommu=on"] }, "--disk iommu"],
    [{ memory: ["shared=on"], net: ["vhost_user=on,socket=s"] }, "--net vhost_user"],
    [{ net: ["socket=s"] }, "--net socket"],
    [{ net: ["tap=t,iommu=on"] }, "--net iommu"],
    [{ memory: ["shared=on"], fs: ["tag=t,socket=s"] }, "--fs"],
    [{ pmem: ["file=f,iommu=on"] }, "--pmem iommu"],
    [{ vsock: ["cid=3,socket=s,iommu=on"] }, "--vsock iommu"],
    [{ vdpa: ["path=p"] }, "--vdpa"],
    [
      { platform: ["iommu_segments=[0]"], console: ["tty,iommu=on"], rng: ["iommu=on"], balloon: ["iommu=on"] },
      "--balloon iommu",
    ],
    [
      { platform: ["iommu_segments=[0]"], console: ["tty,iommu=on"], rng: ["iommu=on"], rtc: ["iommu=on"] },
      "--rtc iommu",
    ],
    [
      { memory: ["shared=on"], "generic-vhost-user": ["device_type=net,socket=s,queue_sizes=[2]"] },
      "--generic-vhost-user",
    ],
    [{ device: ["path=p"] }, "--device"],
    [{ memory: ["shared=on"], "user-device": ["socket=s"] }, "--user-device"],
    [{ rng: ["iommu=on"] }, "--rng iommu"],
    [{ console: ["tty,iommu=on"] }, "--console iommu"],
    [{ igvm: ["g"] }, "--igvm"],
  ];
  for (const [options, feature] of cases) test(feature, () => expect(refused(options)).toContain(feature));

  test("all at once", () => {
    expect(refused({ igvm: ["g"], rng: ["iommu=on"] })).toEqual(["--igvm", "--rng iommu"]);
    const error = thrown(() => refuseUnsupportedConfig(configOf({ igvm: ["g"], rng: ["iommu=on"] })));
    expect(error instanceof Error && error.message).toContain("--igvm, --rng iommu");
  });
});

describe("options of the VMM", () => {
  for (const [options, features] of [
    [{ gdb: ["path=/g"] }, ["--gdb"]],
    [{ "dbus-service-name": ["n"], "dbus-object-path": ["/p"] }, ["--dbus-service-name", "--dbus-object-path"]],
    [{ restore: ["source_url=file:///s"] }, ["--restore"]],
  ] as readonly (readonly [Options, readonly string[]])[])
    test(`${features.join(" ")} is refused`, () => {
      const error = thrown(() => refuseUnsupportedOptions(given(options)));
      expect(error instanceof UnsupportedError && error.features).toEqual([...features]);
    });

  for (const options of [
    {},
    ...["true", "false", "log", "errno"].map((mode) => ({ seccomp: [mode] })),
    { "no-shutdown": [], "log-file": ["/l"], "log-format": ["{msg}"] },
    // Ignored beside a payload.
    { kernel: ["k"], restore: ["source_url=file:///s"] },
  ] as readonly Options[])
    test(`${JSON.stringify(options)} is supported`, () =>
      expect(() => refuseUnsupportedOptions(given(options))).not.toThrow());
});
