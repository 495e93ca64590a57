import { describe, expect, test } from "bun:test";
import { rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ValidationError } from "../../../src/config/errors.ts";
import type { VmConfig } from "../../../src/config/schema/vm.ts";
import type { Platform } from "../../../src/config/validate/checks.ts";
import { validateVmConfig } from "../../../src/config/validate/validate.ts";
import { configOf, type Options, thrown } from "./command-line.ts";

const X86: Platform = { arch: "x86_64", hypervisor: "kvm" };
const ARM: Platform = { arch: "aarch64", hypervisor: "kvm" };

function ruleOf(config: VmConfig, platform = X86): string {
  const error = thrown(() => validateVmConfig(config, platform));
  if (error instanceof ValidationError) return `${error.rule}: ${error.message}`;
  throw error;
}

interface Refusal {
  /** Numbers of the rules, in the order in which they are checked. */
  readonly rule: number;
  readonly name: string;
  readonly options: Options;
  /** What the message must tell. */
  readonly tells?: readonly string[];
  readonly platform?: Platform;
}

const SHARED = { memory: ["shared=on"] };
const SEGMENTS = "num_pci_segments=2,iommu_segments=[1]";

const REFUSALS: readonly Refusal[] = [
  { rule: 2, name: "igvm-exclusive", options: { igvm: ["g"], firmware: ["f"], kernel: [] } },
  { rule: 3, name: "firmware-and-kernel", options: { firmware: ["f"] }, tells: ["--firmware", "--kernel"] },
  { rule: 5, name: "fw-cfg-missing-payload", options: { "fw-cfg-config": [""] }, tells: ["--cmdline"] },
  {
    rule: 5,
    name: "fw-cfg-missing-payload",
    options: { "fw-cfg-config": [""], cmdline: ["c"] },
    tells: ["--initramfs"],
  },
  {
    rule: 6,
    name: "fw-cfg-item",
    options: { "fw-cfg-config": ["cmdline=off,initramfs=off,items=[name=a,file=f:name=b]"] },
    tells: ["'b'"],
  },
  {
    rule: 6,
    name: "fw-cfg-item",
    options: { "fw-cfg-config": ["cmdline=off,initramfs=off,items=[name=a,file=f,string=s]"] },
    tells: ["'a'"],
  },
  {
    rule: 8,
    name: "host-data",
    options: { platform: ["sev_snp=on"], "host-data": ["short"] },
    tells: ["5", "64"],
  },
  { rule: 8, name: "sev-snp-igvm", options: { platform: ["sev_snp=on"] }, tells: ["--igvm"] },
  { rule: 10, name: "cpus-max-below-boot", options: { cpus: ["boot=4,max=3"] }, tells: ["4", "3"] },
  { rule: 11, name: "too-many-cpus", options: { cpus: ["boot=8193"] }, tells: ["8193", "8192"] },
  { rule: 11, name: "too-many-cpus", options: { cpus: ["max=256"] }, tells: ["256", "255"], platform: ARM },
  {
    rule: 11,
    name: "too-many-cpus",
    options: { cpus: ["max=256"] },
    tells: ["256", "255"],
    platform: { arch: "x86_64", hypervisor: "mshv" },
  },
  { rule: 12, name: "rate-limit-group", options: { "rate-limit-group": ["id=g,bw_size=1"] }, tells: ["'g'"] },
  { rule: 12, name: "rate-limit-group", options: { "rate-limit-group": ["bw_size=1,bw_refill_time=1"] } },
  { rule: 12, name: "reserved-id", options: { "rate-limit-group": ["id=__g,bw_size=1,bw_refill_time=1"] } },
  { rule: 13, name: "disk-path-and-socket", options: { disk: ["path=p,socket=s"] } },
  { rule: 14, name: "shared-ram", options: { disk: ["vhost_user=on"] }, tells: ["shared=on"] },
  { rule: 15, name: "vhost-user-socket", options: { ...SHARED, disk: ["vhost_user=on"] } },
  {
    rule: 16,
    name: "vhost-user-rate-limit",
    options: { ...SHARED, disk: ["vhost_user=on,socket=s,ops_size=1,ops_refill_time=1"] },
  },
  {
    rule: 16,
    name: "vhost-user-rate-limit",
    options: { ...SHARED, disk: ["vhost_user=on,socket=s,rate_limit_group=none"] },
  },
  { rule: 17, name: "rate-limit-group", options: { disk: ["rate_limit_group=none"] }, tells: ["'none'"] },
  { rule: 18, name: "pci-segment", options: { disk: ["pci_segment=1"] }, tells: ["1"] },
  { rule: 18, name: "pci-slot", options: { disk: ["pci_device_id=32,num_queues=9"] }, tells: ["32", "31"] },
  { rule: 18, name: "pci-slot-reserved", options: { disk: ["pci_device_id=0"] } },
  { rule: 18, name: "iommu-segment", options: { platform: [SEGMENTS], disk: ["pci_segment=1"] } },
  { rule: 19, name: "disk-queues", options: { disk: ["num_queues=2,queue_size=3"] }, tells: ["2", "1"] },
  { rule: 20, name: "queue-size", options: { disk: ["queue_size=3"] }, tells: ["3"] },
  { rule: 20, name: "queue-size", options: { disk: ["queue_size=0"] }, tells: ["0"] },
  { rule: 21, name: "disk-queue-size-small", options: { disk: ["queue_size=2"] }, tells: ["2"] },
  { rule: 22, name: "vhost-user-iommu", options: { ...SHARED, disk: ["vhost_user=on,socket=s,iommu=on"] } },
  {
    rule: 23,
    name: "rate-limit-group",
    options: {
      "rate-limit-group": ["id=g,bw_size=1,bw_refill_time=1"],
      disk: ["rate_limit_group=g,bw_size=1,bw_refill_time=1"],
    },
  },
  { rule: 24, name: "disk-serial", options: { disk: ["serial=123456789012345678901"] }, tells: ["21", "20"] },
  { rule: 24, name: "disk-serial", options: { disk: ["serial=ééééééééééé"] }, tells: ["22", "20"] },
  { rule: 24, name: "duplicate-id", options: { disk: ["id=a", "id=a"] }, tells: ["'a'"] },
  { rule: 24, name: "reserved-id", options: { disk: ["id=__a"] }, tells: ["'__a'"] },
  { rule: 25, name: "shared-ram", options: { net: ["vhost_user=on"] } },
  { rule: 25, name: "vhost-user-socket", options: { ...SHARED, net: ["vhost_user=on"] } },
  {
    rule: 25,
    name: "vhost-user-rate-limit",
    options: { ...SHARED, net: ["vhost_user=on,socket=s,bw_size=1,bw_refill_time=1"] },
  },
  { rule: 26, name: "pci-segment", options: { net: ["pci_segment=1,num_queues=1"] } },
  { rule: 27, name: "net-queues-few", options: { net: ["num_queues=1"] }, tells: ["1"] },
  { rule: 28, name: "net-fds", options: { net: ["fd=[3,4]"] }, tells: ["2"] },
  { rule: 29, name: "net-fd-reserved", options: { net: ["fd=2"] }, tells: ["2"] },
  { rule: 29, name: "net-fd-reserved", options: { net: ["fd=4294967295"] }, tells: ["-1"] },
  { rule: 30, name: "net-queues", options: { net: ["num_queues=4,queue_size=3"] }, tells: ["2", "1"] },
  { rule: 31, name: "queue-size", options: { net: ["queue_size=100"] }, tells: ["100"] },
  { rule: 32, name: "vhost-user-iommu", options: { ...SHARED, net: ["vhost_user=on,socket=s,iommu=on,mtu=1"] } },
  { rule: 33, name: "net-mtu", options: { net: ["mtu=1279,offload_csum=off"] }, tells: ["1279", "1280"] },
  { rule: 34, name: "net-offload", options: { net: ["offload_csum=off,offload_ufo=off,mask=1.1.1.1"] } },
  { rule: 34, name: "net-offload", options: { net: ["offload_csum=off,offload_tso=off"] } },
  { rule: 35, name: "net-mask", options: { net: ["mask=255.0.0.0"] } },
  { rule: 35, name: "net-ip", options: { net: ["ip=1.1.1.1"] } },
  { rule: 35, name: "duplicate-id", options: { disk: ["id=a"], net: ["id=a"] } },
  { rule: 35, name: "net-forward", options: { net: ["forward=tcp:1:1"] }, tells: ["user=on"] },
  { rule: 35, name: "net-forward", options: { net: ["user=on,forward=[tcp:1:1,tcp:127.0.0.1:1:2]"] } },
  { rule: 35, name: "net-user", options: { net: ["user=on,tap=t"] }, tells: ["tap"] },
  { rule: 35, name: "net-user", options: { net: ["user=on,fd=3"] }, tells: ["fd"] },
  { rule: 35, name: "net-user", options: { net: ["user=on,host_mac=2e:00:00:00:00:01"] }, tells: ["host_mac"] },
  { rule: 35, name: "net-user-queues", options: { cpus: ["boot=2"], net: ["user=on,num_queues=4"] } },
  { rule: 35, name: "net-user-mtu", options: { net: ["user=on,mtu=65521"] }, tells: ["65521", "65520"] },
  { rule: 36, name: "shared-ram", options: { fs: ["tag=t,socket=s"] } },
  { rule: 37, name: "fs-queues", options: { ...SHARED, fs: ["tag=t,socket=s,num_queues=2"] }, tells: ["2", "1"] },
  { rule: 37, name: "queue-size", options: { ...SHARED, fs: ["tag=t,socket=s,queue_size=3"] } },
  { rule: 37, name: "pci-segment", options: { ...SHARED, fs: ["tag=t,socket=s,pci_segment=1"] } },
  { rule: 37, name: "reserved-id", options: { ...SHARED, fs: ["tag=t,socket=s,id=__fs"] } },
  { rule: 38, name: "shared-ram", options: { "generic-vhost-user": ["device_type=net,socket=s,queue_sizes=[2]"] } },
  {
    rule: 39,
    name: "queue-size",
    options: { ...SHARED, "generic-vhost-user": ["device_type=net,socket=s,queue_sizes=[2,3]"] },
    tells: ["3"],
  },
  {
    rule: 39,
    name: "pci-slot",
    options: { ...SHARED, "generic-vhost-user": ["device_type=net,socket=s,queue_sizes=[2],pci_device_id=40"] },
  },
  { rule: 40, name: "pci-segment", options: { pmem: ["file=f,pci_segment=3"] }, tells: ["--pmem"] },
  { rule: 40, name: "duplicate-id", options: { pmem: ["file=f,id=a"], rng: ["id=a"] } },
  { rule: 40, name: "pci-segment", options: { rng: ["pci_segment=3"] }, tells: ["--rng"] },
  { rule: 40, name: "pci-segment", options: { rtc: ["pci_segment=3"] }, tells: ["--rtc"] },
  { rule: 40, name: "pci-segment", options: { console: ["tty,pci_segment=3"] }, tells: ["--console"] },
  { rule: 40, name: "reserved-id", options: { console: ["tty,id=__console"] } },
  { rule: 41, name: "topology-zero", options: { cpus: ["topology=4:1:0:1"] }, tells: ["dies_per_package"] },
  { rule: 42, name: "topology-threads", options: { cpus: ["boot=3,topology=3:1:1:1"] }, tells: ["3", "2"] },
  {
    rule: 42,
    name: "topology-dies",
    options: { cpus: ["boot=2,topology=1:1:2:1"] },
    tells: ["2"],
    platform: ARM,
  },
  { rule: 43, name: "topology-count", options: { cpus: ["boot=4,topology=1:2:1:1"] }, tells: ["2", "4"] },
  { rule: 44, name: "hugepage-size", options: { memory: ["hugepage_size=2M"] } },
  { rule: 44, name: "hugepage-size-power", options: { memory: ["hugepages=on,hugepage_size=3M"] } },
  { rule: 45, name: "shared-mergeable", options: { memory: ["shared=on,mergeable=on"] } },
  { rule: 46, name: "shared-mergeable", options: { "memory-zone": ["id=z,shared=on,mergeable=on"] }, tells: ["'z'"] },
  { rule: 46, name: "hugepage-size", options: { "memory-zone": ["id=z,hugepage_size=2M"] }, tells: ["'z'"] },
  { rule: 46, name: "hugepage-size-power", options: { "memory-zone": ["id=z,hugepages=on,hugepage_size=0"] } },
  { rule: 47, name: "shared-ram", options: { "user-device": ["socket=s"] } },
  { rule: 48, name: "pci-segment", options: { ...SHARED, "user-device": ["socket=s,pci_segment=1"] } },
  { rule: 49, name: "pci-segment", options: { vdpa: ["path=p,pci_segment=1"] } },
  { rule: 49, name: "duplicate-id", options: { vdpa: ["path=p,id=a", "path=q,id=a"] } },
  ...[0, 1, 2, 4294967295].map((cid) => ({
    rule: 50,
    name: "vsock-cid",
    options: { vsock: [`cid=${cid},socket=s`] },
    tells: [String(cid)],
  })),
  { rule: 51, name: "pci-segment", options: { balloon: ["size=1G,pci_segment=1"] } },
  { rule: 51, name: "balloon-size", options: { balloon: ["size=512M"] }, tells: ["536870912"] },
  {
    rule: 51,
    name: "balloon-size",
    options: { memory: ["size=0"], "memory-zone": ["id=z,size=1M,hotplugged_size=1M"], balloon: ["size=2M"] },
    tells: ["2097152"],
  },
  { rule: 52, name: "duplicate-device-path", options: { device: ["path=p", "path=p,pci_segment=9"] }, tells: ["'p'"] },
  { rule: 53, name: "pci-segment", options: { device: ["pci_segment=9"] } },
  { rule: 53, name: "device-source", options: { device: [""] } },
  { rule: 53, name: "device-sources", options: { device: ["path=p,fd=3"] } },
  { rule: 53, name: "device-fd-iommufd", options: { device: ["fd=3"] } },
  {
    rule: 54,
    name: "device-clique",
    options: { device: ["path=p,x_nv_gpudirect_clique=1"], platform: ["vfio_p2p_dma=off"] },
  },
  { rule: 55, name: "device-bar", options: { device: ["path=p,x_exclude_mmap_bars=[5,6]"] }, tells: ["6"] },
  { rule: 55, name: "reserved-id", options: { device: ["path=p,id=__d"] } },
  { rule: 56, name: "pci-segment", options: { vsock: ["cid=3,socket=s,pci_segment=1"] } },
  { rule: 57, name: "numa-node", options: { numa: ["guest_numa_id=0,pci_segments=[0]"] } },
  { rule: 57, name: "numa-node", options: { numa: ['guest_numa_id=0,device_id=""'] } },
  {
    rule: 58,
    name: "numa-zone",
    options: { numa: ["guest_numa_id=3,memory_zones=[z]", "guest_numa_id=4,memory_zones=[z]"] },
    tells: ["'z'", "3", "4"],
  },
  { rule: 59, name: "numa-segment", options: { numa: ["guest_numa_id=0,cpus=[0],pci_segments=[1]"] }, tells: ["1"] },
  { rule: 60, name: "numa-segment-0", options: { numa: ["guest_numa_id=1,cpus=[0],pci_segments=[0]"] } },
  {
    rule: 61,
    name: "numa-segment-twice",
    options: {
      platform: ["num_pci_segments=2"],
      numa: ["guest_numa_id=0,cpus=[0],pci_segments=[1]", "guest_numa_id=1,cpus=[1],pci_segments=[1]"],
    },
    tells: ["1", "0"],
  },
  { rule: 62, name: "duplicate-id", options: { disk: ["id=a"], "memory-zone": ["id=a"] } },
  { rule: 62, name: "reserved-id", options: { "memory-zone": ["id=__z"] } },
  { rule: 63, name: "segment-weights", options: { "pci-segment": ["pci_segment=1"] }, tells: ["1"] },
  { rule: 63, name: "segment-weight-zero", options: { "pci-segment": ["mmio32_aperture_weight=0"] } },
  { rule: 63, name: "segment-weight-zero", options: { "pci-segment": ["mmio64_aperture_weight=0"] } },
  { rule: 64, name: "segment-count", options: { platform: ["num_pci_segments=97"] }, tells: ["97", "96"] },
  { rule: 64, name: "iommu-segments", options: { platform: ["iommu_segments=[1]"] }, tells: ["1"] },
  { rule: 64, name: "iommu-address-width", options: { platform: ["iommu_address_width=65"] }, tells: ["65", "64"] },
  { rule: 64, name: "iommufd-off", options: { platform: ["iommufd_fd=3,iommufd=off"] } },
  { rule: 65, name: "landlock-path", options: { "landlock-rules": ["path=/no/such/file,access=r"] } },
  { rule: 65, name: "landlock-access", options: { "landlock-rules": ["path=/,access=x"] }, tells: ["'x'"] },
  { rule: 65, name: "landlock-access", options: { "landlock-rules": ['path=/,access=""'] } },
  { rule: 66, name: "ivshmem-size", options: { ivshmem: ["path=/no/such/file,size=3M"] } },
  { rule: 66, name: "ivshmem-file", options: { ivshmem: ["path=/no/such/file,size=1M"] } },
  { rule: 66, name: "ivshmem-file", options: { ivshmem: ["path=/no/path\0,size=1M"] } },
  { rule: 66, name: "ivshmem-file", options: { ivshmem: [`path=/${"long".repeat(2000)},size=1M`] } },
];

describe("refused", () => {
  for (const { rule, name, options, tells = [], platform } of REFUSALS)
    test(`rule ${rule}: ${name}: ${JSON.stringify(options)}`, () => {
      const parsed = configOf({ kernel: ["k"], ...options }, platform?.arch);
      const { kernel: _, ...rest } = parsed.payload ?? {};
      const config = options.kernel?.length === 0 ? { ...parsed, payload: rest } : parsed;
      const text = ruleOf(config, platform);
      expect(text).toStartWith(`${name}: `);
      for (const word of tells) expect(text).toContain(word);
    });
});

describe("the order of the rules", () => {
  /** Two broken rules at once: that of the lower number is reported. */
  const single = REFUSALS.filter(({ platform, rule }) => platform === undefined && rule >= 10);
  test("is that of their numbers", () => {
    let pairs = 0;
    for (const first of single)
      for (const second of single) {
        if (first.rule >= second.rule) continue;
        // Options that both set cannot be combined.
        if (Object.keys(first.options).some((name) => name in second.options)) continue;
        // Rules on devices compare with the number of CPUs, and with the memory and the platform that the other sets.
        const shared = ["cpus", "memory", "platform", "memory-zone"];
        if ([first, second].some(({ options }) => shared.some((name) => name in options))) continue;
        const config = configOf({ ...second.options, ...first.options });
        expect(`${first.rule}+${second.rule} ${ruleOf(config)}`).toStartWith(
          `${first.rule}+${second.rule} ${first.name}: `,
        );
        pairs++;
      }
    expect(pairs).toBeGreaterThan(500);
  });
});

describe("refused through the REST API only", () => {
  const base = configOf(SHARED);
  const pci = { iommu: true, pci_segment: 0 };
  const cases: readonly (readonly [string, VmConfig])[] = [
    ["iommu-unsupported", { ...base, fs: [{ ...pci, tag: "t", socket: "s", num_queues: 1, queue_size: 2 }] }],
    ["iommu-unsupported", { ...base, generic_vhost_user: [{ ...pci, socket: "s", queue_sizes: [3], device_type: 1 }] }],
    ["iommu-unsupported", { ...base, user_devices: [{ ...pci, socket: "s" }] }],
    ["iommu-unsupported", { ...base, ivshmem: { ...pci, path: "/", size: 3 } }],
    ["console-file", { ...base, serial: { mode: "File" } }],
    ["console-file", { ...base, console: { ...base.console, mode: "File" } }],
    ["no-payload", { ...base, payload: {} }],
    ["numa-node", { ...base, numa: [{ guest_numa_id: 0, cpus: [] }] }],
    ["numa-node", { ...base, numa: [{ guest_numa_id: 0, memory_zones: [] }] }],
    ["numa-node", { ...base, numa: [{ guest_numa_id: 0, device_id: "d", cpus: [0] }] }],
  ];
  for (const [name, config] of cases)
    test(`${name}: ${JSON.stringify(config).slice(-80)}`, () => expect(ruleOf(config)).toStartWith(`${name}: `));
  test("no payload at all", () => {
    const { payload: _, ...config } = base;
    expect(ruleOf(config)).toStartWith("no-payload: ");
  });
});

describe("accepted", () => {
  const cases: readonly Options[] = [
    {},
    { cpus: ["boot=0,max=1"] },
    { cpus: ["boot=8192"] },
    { cpus: ["boot=4,topology=2:2:1:1"] },
    { disk: ["num_queues=0", "queue_size=4,serial=12345678901234567890", "path=p,pci_device_id=31"] },
    { disk: ["path=p,pci_device_id=0,pci_segment=1"], platform: ["num_pci_segments=2"] },
    { disk: ["pci_segment=1,iommu=on"], platform: [SEGMENTS] },
    { disk: ["rate_limit_group=g"], "rate-limit-group": ["id=g,ops_size=1,ops_refill_time=1"] },
    { cpus: ["boot=2"], net: ["num_queues=5,mtu=1280,ip=1.1.1.1,mask=255.0.0.0", "fd=3"] },
    { net: ["offload_csum=off,offload_tso=off,offload_ufo=off"] },
    { memory: ["hugepages=on,hugepage_size=2M"], fs: ["tag=t,socket=s"] },
    {
      memory: ["size=0"],
      "memory-zone": ["id=a,shared=on", "id=b,hugepages=on"],
      "user-device": ["socket=s"],
      disk: ["vhost_user=on,socket=s"],
    },
    { memory: ["size=3M"], balloon: ["size=2M"] },
    { vsock: ["cid=4294967294,socket=s"] },
    { device: ["fd=3,x_exclude_mmap_bars=[0-5]"], platform: ["iommufd_fd=4"] },
    { numa: ["guest_numa_id=0,device_id=d", "guest_numa_id=0,cpus=[0],pci_segments=[0]"] },
    { "landlock-rules": ["path=/,access=rw", "path=/,access=r"] },
    { igvm: ["g"] },
    { "fw-cfg-config": ["initramfs=off"], cmdline: ["c"] },
  ];
  for (const options of cases)
    test(JSON.stringify(options), () => {
      const config = configOf(options);
      const result = validateVmConfig(config, X86);
      expect(result).toEqual({ config: { ...config, iommu: result.config.iommu }, warnings: [] });
    });

  test("zones of which one is neither shared nor huge are not shared RAM", () =>
    expect(
      ruleOf(configOf({ memory: ["size=0"], "memory-zone": ["id=a,shared=on", "id=b"], "user-device": ["socket=s"] })),
    ).toStartWith("shared-ram: "));
});

describe("what validation changes", () => {
  test("firmware drops the command line and the initramfs, with warnings", () => {
    const config = { ...configOf(), payload: { firmware: "f", cmdline: "c", initramfs: "i" } };
    const { config: result, warnings } = validateVmConfig(config, X86);
    expect(result.payload).toEqual({ firmware: "f" });
    expect(warnings).toHaveLength(2);
    expect(warnings[0]).toContain("--cmdline");
    expect(warnings[1]).toContain("--initramfs");
  });

  test("two consoles on the terminal make a warning", () => {
    const { warnings } = validateVmConfig(configOf({ serial: ["tty"], "debug-console": ["tty"] }), X86);
    expect(warnings).toHaveLength(1);
    for (const option of ["--console", "--serial", "--debug-console"]) expect(warnings[0]).toContain(option);
    expect(validateVmConfig(configOf({ serial: ["tty"], console: ["off"] }), X86).warnings).toEqual([]);
  });

  for (const options of [
    { disk: ["iommu=on"] },
    { net: ["iommu=on"] },
    { rng: ["iommu=on"] },
    { console: ["tty,iommu=on"] },
    { rtc: ["iommu=on"] },
    { balloon: ["iommu=on"] },
    { pmem: ["file=f,iommu=on"] },
    { vsock: ["cid=3,socket=s,iommu=on"] },
    { vdpa: ["path=p,iommu=on"] },
    { device: ["path=p,iommu=on"] },
    { platform: ["iommu_segments=[0]"], rng: ["iommu=on"], console: ["tty,iommu=on"] },
  ] as readonly Options[])
    test(`${JSON.stringify(options)} makes the IOMMU`, () =>
      expect(validateVmConfig(configOf(options), X86).config.iommu).toBe(true));
  test("nothing else does", () =>
    expect(validateVmConfig(configOf({ disk: ["path=p"] }), X86).config.iommu).toBe(false));
});

describe("ivshmem", () => {
  const file = join(tmpdir(), `ivshmem-${process.pid}`);
  const validate = (size: number) => {
    writeFileSync(file, "");
    truncateSync(file, size);
    try {
      return validateVmConfig(configOf({ ivshmem: [`path=${file},size=1M`] }), X86);
    } finally {
      rmSync(file);
    }
  };
  test("a file of at least the size is accepted", () => expect(validate(2 ** 20).warnings).toEqual([]));
  test("a smaller one is not", () => {
    const error = thrown(() => validate(2 ** 20 - 1));
    expect(error instanceof ValidationError && error.rule).toBe("ivshmem-file-size");
    expect(error instanceof Error && error.message).toContain("1048575");
  });
});
