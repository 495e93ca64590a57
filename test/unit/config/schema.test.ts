import { describe, expect, test } from "bun:test";
import {
  ConversionError,
  InvalidValueError,
  MissingKeyError,
  PciKeysError,
  UnknownKeyError,
} from "../../../src/config/grammar/errors.ts";
import { consoleSchema, debugConsoleSchema, serialSchema } from "../../../src/config/schema/consoles.ts";
import { cpusSchema } from "../../../src/config/schema/cpus.ts";
import { diskSchema } from "../../../src/config/schema/disk.ts";
import { deviceSchema, ivshmemSchema, tpmSchema, userDeviceSchema } from "../../../src/config/schema/host-devices.ts";
import { landlockSchema } from "../../../src/config/schema/landlock.ts";
import { memorySchema, memoryZoneSchema } from "../../../src/config/schema/memory.ts";
import { netSchema } from "../../../src/config/schema/net.ts";
import { numaSchema } from "../../../src/config/schema/numa.ts";
import { type ObjectSchema, parseOption } from "../../../src/config/schema/object-schema.ts";
import { fwCfgSchema } from "../../../src/config/schema/payload.ts";
import { pciSegmentSchema, platformSchema } from "../../../src/config/schema/platform.ts";
import { rateLimitGroupSchema } from "../../../src/config/schema/rate-limiter.ts";
import { restoreSchema } from "../../../src/config/schema/restore.ts";
import {
  balloonSchema,
  fsSchema,
  genericVhostUserSchema,
  pmemSchema,
  rngSchema,
  rtcSchema,
  vdpaSchema,
  vsockSchema,
} from "../../../src/config/schema/virtio-devices.ts";

const MIB = 2 ** 20;
const PCI = { iommu: false, pci_segment: 0 };

/** The shortest text of each option, and the object with all its defaults. */
const DEFAULTS: Readonly<Record<string, readonly [ObjectSchema, string, object]>> = {
  cpus: [
    cpusSchema,
    "",
    {
      boot_vcpus: 1,
      max_vcpus: 1,
      kvm_hyperv: false,
      max_phys_bits: 46,
      features: { amx: false },
      nested: true,
      core_scheduling: "Vm",
      profile: "Host",
    },
  ],
  memory: [
    memorySchema,
    "",
    {
      size: 512 * MIB,
      mergeable: false,
      hotplug_method: "Acpi",
      shared: false,
      hugepages: false,
      prefault: false,
      reserve: false,
      thp: true,
    },
  ],
  "memory-zone": [
    memoryZoneSchema,
    "id=z",
    { id: "z", size: 512 * MIB, shared: false, hugepages: false, prefault: false, reserve: false, mergeable: false },
  ],
  platform: [
    platformSchema,
    "",
    { num_pci_segments: 1, iommu_address_width_bits: 64, sev_snp: false, iommufd: false, vfio_p2p_dma: true },
  ],
  "pci-segment": [pciSegmentSchema, "", { pci_segment: 0, mmio32_aperture_weight: 1, mmio64_aperture_weight: 1 }],
  disk: [
    diskSchema,
    "",
    {
      ...PCI,
      readonly: false,
      direct: false,
      num_queues: 1,
      queue_size: 128,
      vhost_user: false,
      disable_io_uring: false,
      disable_aio: false,
      backing_files: false,
      sparse: true,
      image_type: "Unknown",
      lock_granularity: "ByteRange",
    },
  ],
  net: [
    netSchema,
    "tap=,mac=,ip=,mask=",
    {
      ...PCI,
      num_queues: 2,
      queue_size: 256,
      vhost_user: false,
      vhost_mode: "Client",
      user: false,
      offload_tso: true,
      offload_ufo: true,
      offload_csum: true,
    },
  ],
  rng: [rngSchema, "", { ...PCI, src: "/dev/urandom" }],
  rtc: [rtcSchema, "", PCI],
  balloon: [
    balloonSchema,
    "",
    { ...PCI, size: 0, deflate_on_oom: false, free_page_reporting: false, statistics: false },
  ],
  fs: [fsSchema, "tag=t,socket=s", { ...PCI, tag: "t", socket: "s", num_queues: 1, queue_size: 1024 }],
  pmem: [pmemSchema, "file=f", { ...PCI, file: "f", discard_writes: false }],
  vsock: [vsockSchema, "cid=3,socket=s", { ...PCI, cid: 3, socket: "s" }],
  vdpa: [vdpaSchema, "path=p", { ...PCI, path: "p", num_queues: 1 }],
  "user-device": [userDeviceSchema, "socket=s", { ...PCI, socket: "s" }],
  device: [deviceSchema, "", { ...PCI, x_exclude_mmap_bars: [] }],
  tpm: [tpmSchema, "socket=s", { socket: "s" }],
  ivshmem: [ivshmemSchema, "path=p", { ...PCI, path: "p", size: 128 * MIB }],
  "generic-vhost-user": [
    genericVhostUserSchema,
    "device_type=net,socket=s,queue_sizes=[256]",
    { ...PCI, device_type: 1, socket: "s", queue_sizes: [256] },
  ],
  serial: [serialSchema, "null", { mode: "Null" }],
  console: [consoleSchema, "tty", { ...PCI, mode: "Tty" }],
  "debug-console": [debugConsoleSchema, "off", { mode: "Off", iobase: 0xe9 }],
  numa: [numaSchema, "guest_numa_id=0", { guest_numa_id: 0 }],
  "rate-limit-group": [rateLimitGroupSchema, "", { id: "", rate_limiter_config: {} }],
  "landlock-rules": [landlockSchema, "path=p,access=rw", { path: "p", access: "rw" }],
  "fw-cfg-config": [fwCfgSchema, "", { e820: true, kernel: true, cmdline: true, initramfs: true, acpi_tables: true }],
  restore: [
    restoreSchema,
    "source_url=file:///s",
    { source_url: "file:///s", prefault: false, memory_restore_mode: "Copy", resume: false, zone_updates: [] },
  ],
};

describe("defaults", () => {
  for (const [option, [schema, text, config]] of Object.entries(DEFAULTS))
    test(`--${option} '${text}'`, () => expect<unknown>(parseOption(schema, text)).toEqual(config));
});

/** Every key of every option, with a value other than the default, and the members it sets. */
const KEYS: Readonly<Record<string, Readonly<Record<string, object>>>> = {
  cpus: {
    "boot=4": { boot_vcpus: 4, max_vcpus: 4 },
    "boot=2,max=8": { boot_vcpus: 2, max_vcpus: 8 },
    "max=3": { boot_vcpus: 1, max_vcpus: 3 },
    "topology=2:4:1:3": { topology: { threads_per_core: 2, cores_per_die: 4, dies_per_package: 1, packages: 3 } },
    "kvm_hyperv=on": { kvm_hyperv: true },
    "max_phys_bits=40": { max_phys_bits: 40 },
    "affinity=[0@[2,4-5],1@0]": {
      affinity: [
        { vcpu: 0, host_cpus: [2, 4, 5] },
        { vcpu: 1, host_cpus: [0] },
      ],
    },
    "nested=off": { nested: false },
    "core_scheduling=VCPU": { core_scheduling: "Vcpu" },
    "core_scheduling=off": { core_scheduling: "Off" },
    "profile=Host": { profile: "Host" },
  },
  memory: {
    "size=1G": { size: 1024 * MIB },
    "size=0": { size: 0 },
    "mergeable=on": { mergeable: true },
    "hotplug_method=virtio-mem": { hotplug_method: "VirtioMem" },
    "hotplug_size=1M": { hotplug_size: MIB },
    "hotplugged_size=1M": { hotplugged_size: MIB },
    "shared=on": { shared: true },
    "hugepages=on": { hugepages: true },
    "hugepage_size=2M": { hugepage_size: 2 * MIB },
    "prefault=on": { prefault: true },
    "reserve=on": { reserve: true },
    "thp=off": { thp: false },
    "file=/ignored": {},
  },
  "memory-zone": {
    "size=1G": { size: 1024 * MIB },
    "file=/f": { file: "/f" },
    "shared=on": { shared: true },
    "hugepages=on": { hugepages: true },
    "hugepage_size=2M": { hugepage_size: 2 * MIB },
    "host_numa_node=1": { host_numa_node: 1 },
    "hotplug_size=1M": { hotplug_size: MIB },
    "hotplugged_size=1M": { hotplugged_size: MIB },
    "prefault=on": { prefault: true },
    "reserve=on": { reserve: true },
    "mergeable=on": { mergeable: true },
  },
  platform: {
    "num_pci_segments=96": { num_pci_segments: 96 },
    "iommu_segments=[1,65537]": { iommu_segments: [1, 1] },
    "iommu_address_width=48": { iommu_address_width_bits: 48 },
    "iommufd=on": { iommufd: true },
    "iommufd_fd=7": { iommufd_fd: 7, iommufd: true },
    "iommufd_fd=7,iommufd=off": { iommufd_fd: 7, iommufd: false },
    "vfio_p2p_dma=off": { vfio_p2p_dma: false },
    "system_manufacturer=m": { system_manufacturer: "m" },
    "system_product_name=n": { system_product_name: "n" },
    "system_version=v": { system_version: "v" },
    "system_sku_number=k": { system_sku_number: "k" },
    "system_family=f": { system_family: "f" },
    "chassis_asset_tag=t": { chassis_asset_tag: "t" },
    "system_serial_number=s": { system_serial_number: "s" },
    "system_uuid=u": { system_uuid: "u" },
    "serial_number=s": { system_serial_number: "s" },
    "serial_number=old,system_serial_number=new": { system_serial_number: "new" },
    "uuid=u": { system_uuid: "u" },
    "system_uuid=new,uuid=old": { system_uuid: "new" },
    "oem_strings=[a,b]": { oem_strings: ["a", "b"] },
    "sev_snp=on": { sev_snp: true },
  },
  "pci-segment": {
    "pci_segment=2": { pci_segment: 2 },
    "mmio32_aperture_weight=3": { mmio32_aperture_weight: 3 },
    "mmio64_aperture_weight=4": { mmio64_aperture_weight: 4 },
  },
  disk: {
    "path=/d": { path: "/d" },
    'path="/a,b"': { path: "/a,b" },
    "readonly=on": { readonly: true },
    "direct=on": { direct: true },
    "num_queues=4": { num_queues: 4 },
    "queue_size=256": { queue_size: 256 },
    "vhost_user=on": { vhost_user: true },
    "socket=/s": { vhost_socket: "/s" },
    "socket=/s,image_type=nonsense": { vhost_socket: "/s", image_type: "Unknown" },
    "bw_size=1,bw_refill_time=2": {
      rate_limiter_config: { bandwidth: { size: 1, one_time_burst: 0, refill_time: 2 } },
    },
    "bw_size=1,bw_one_time_burst=3": {},
    "ops_refill_time=2": {},
    "ops_size=1,ops_one_time_burst=3,ops_refill_time=2": {
      rate_limiter_config: { ops: { size: 1, one_time_burst: 3, refill_time: 2 } },
    },
    "rate_limit_group=g": { rate_limit_group: "g" },
    "queue_affinity=[0@[1,2],1@3]": {
      queue_affinity: [
        { queue_index: 0, host_cpus: [1, 2] },
        { queue_index: 1, host_cpus: [3] },
      ],
    },
    "serial=abc": { serial: "abc" },
    "backing_files=on": { backing_files: true },
    "sparse=off": { sparse: false },
    "image_type=RAW": { image_type: "Raw" },
    "image_type=qcow2": { image_type: "Qcow2" },
    "image_type=vhd": { image_type: "FixedVhd" },
    "image_type=vhdx": { image_type: "Vhdx" },
    "image_type=vmdk": { image_type: "FlatVmdk" },
    "lock_granularity=full": { lock_granularity: "Full" },
    "_disable_io_uring=on": { disable_io_uring: true },
    "_disable_aio=on": { disable_aio: true },
    "id=x,iommu=on,pci_segment=1,pci_device_id=2": { id: "x", iommu: true, pci_segment: 1, pci_device_id: 2 },
  },
  net: {
    "tap=t": { tap: "t" },
    "ip=1.2.3.4": { ip: "1.2.3.4" },
    "mask=255.0.0.0": { mask: "255.0.0.0" },
    "mac=2E:00:00:00:00:01": { mac: "2e:00:00:00:00:01" },
    "host_mac=2e:00:00:00:00:02": { host_mac: "2e:00:00:00:00:02" },
    "mtu=1400": { mtu: 1400 },
    "num_queues=4": { num_queues: 4 },
    "queue_size=512": { queue_size: 512 },
    "fd=[3,4]": { fds: [3, 4] },
    "fd=4294967295": { fds: [-1] },
    "vhost_user=true": { vhost_user: true },
    "socket=/s": { vhost_socket: "/s" },
    "vhost_mode=Server": { vhost_mode: "Server" },
    "bw_size=1,bw_refill_time=2": {
      rate_limiter_config: { bandwidth: { size: 1, one_time_burst: 0, refill_time: 2 } },
    },
    "user=on": { user: true },
    "forward=tcp:8080:80": { forward: ["tcp:127.0.0.1:8080:80"] },
    "forward=[udp:192.0.2.1:53:5353,tcp:0::1:1:65535]": { forward: ["udp:192.0.2.1:53:5353", "tcp:::1:1:65535"] },
    "offload_tso=off": { offload_tso: false },
    "offload_ufo=off": { offload_ufo: false },
    "offload_csum=off": { offload_csum: false },
  },
  rng: {
    "src=/dev/hwrng": { src: "/dev/hwrng" },
    "iommu=on": { iommu: true },
    "bw_size=1,bw_refill_time=2": {
      rate_limiter_config: { bandwidth: { size: 1, one_time_burst: 0, refill_time: 2 } },
    },
  },
  rtc: { "id=r": { id: "r" } },
  balloon: {
    "size=1M": { size: MIB },
    "deflate_on_oom=on": { deflate_on_oom: true },
    "free_page_reporting=on": { free_page_reporting: true },
    "statistics=on": { statistics: true },
  },
  fs: { "num_queues=2": { num_queues: 2 }, "queue_size=512": { queue_size: 512 } },
  pmem: { "size=2M": { size: 2 * MIB }, "discard_writes=on": { discard_writes: true } },
  vdpa: { "num_queues=3": { num_queues: 3 } },
  device: {
    "path=/p": { path: "/p" },
    "fd=5": { fd: 5 },
    "x_nv_gpudirect_clique=1": { x_nv_gpudirect_clique: 1 },
    "x_exclude_mmap_bars=[0,2]": { x_exclude_mmap_bars: [0, 2] },
  },
  ivshmem: { "size=1M": { size: MIB } },
  "generic-vhost-user": {
    "virtio_id=26,device_type=": { device_type: 26 },
    "virtio_id=26": { device_type: 1 },
    "device_type=4294967295": { device_type: 4294967295 },
    "device_type=9p": { device_type: 9 },
    "device_type=gpu": { device_type: 16 },
    "device_type=usb": { device_type: 49 },
    "queue_sizes=[1-3,5]": { queue_sizes: [1, 2, 3, 5] },
  },
  numa: {
    "cpus=[0,2-3]": { cpus: [0, 2, 3] },
    "distances=[1@20,4294967298@276]": {
      distances: [
        { destination: 1, distance: 20 },
        { destination: 2, distance: 20 },
      ],
    },
    "memory_zones=[a,b]": { memory_zones: ["a", "b"] },
    "pci_segments=[0,1]": { pci_segments: [0, 1] },
    "device_id=d": { device_id: "d" },
  },
  "rate-limit-group": {
    "id=g,bw_size=1,bw_refill_time=2,ops_size=3,ops_refill_time=4": {
      id: "g",
      rate_limiter_config: {
        bandwidth: { size: 1, one_time_burst: 0, refill_time: 2 },
        ops: { size: 3, one_time_burst: 0, refill_time: 4 },
      },
    },
  },
  "fw-cfg-config": {
    "acpi_table=off": { acpi_tables: false },
    "e820=off,kernel=off,cmdline=off,initramfs=off": { e820: false, kernel: false, cmdline: false, initramfs: false },
    "items=[name=opt/a,file=/f:name=opt/b,string=s]": {
      items: {
        item_list: [
          { name: "opt/a", file: "/f" },
          { name: "opt/b", string: "s" },
        ],
      },
    },
  },
  restore: {
    "prefault=on": { prefault: true },
    "memory_restore_mode=OnDemand": { memory_restore_mode: "OnDemand" },
    "net_fds=[net0@[5,6],net1@7]": {
      net_fds: [
        { id: "net0", num_fds: 2, fds: [5, 6] },
        { id: "net1", num_fds: 1, fds: [7] },
      ],
    },
    "vfio_fds=[v@9]": { vfio_fds: [{ id: "v", fd: 9 }] },
    "iommufd_fd=3": { iommufd_fd: 3 },
    "resume=on": { resume: true },
    "zone_updates=[z@1]": { zone_updates: [{ id: "z", host_numa_node: 1 }] },
  },
};

describe("keys", () => {
  for (const [option, keys] of Object.entries(KEYS)) {
    const [schema, minimum, config] = DEFAULTS[option] ?? [];
    if (schema === undefined) throw new Error(`no defaults for ${option}`);
    for (const [text, members] of Object.entries(keys))
      test(`--${option} ${text}`, () =>
        expect(parseOption(schema, `${minimum === "" ? "" : `${minimum},`}${text}`)).toEqual({
          ...config,
          ...members,
        }));
  }
});

describe("consoles", () => {
  for (const [text, config] of [
    ["off", { mode: "Off" }],
    ["off=whatever", { mode: "Off" }],
    ["pty", { mode: "Pty" }],
    ["tty", { mode: "Tty" }],
    ["null", { mode: "Null" }],
    ["file=/f", { mode: "File", file: "/f" }],
    ["socket=/s", { mode: "Socket", socket: "/s" }],
    ["socket=/s,file=/f,null,tty,pty,off", { mode: "Off" }],
    ["socket=/s,file=/f,null,tty,pty", { mode: "Pty" }],
    ["socket=/s,file=/f,null,tty", { mode: "Tty" }],
    ["socket=/s,file=/f,null", { mode: "Null" }],
    ["socket=/s,file=/f", { mode: "File", file: "/f" }],
    ["off,file=", { mode: "Off" }],
  ] as const) {
    test(`--serial ${text}`, () => expect(parseOption(serialSchema, text)).toEqual(config));
    test(`--console ${text}`, () => expect(parseOption(consoleSchema, text)).toEqual({ ...PCI, ...config }));
  }
  for (const [text, port] of [
    ["file=/f,iobase=0x402", 0x402],
    ["file=/f,iobase=0xFFFF", 0xffff],
    ["file=/f,iobase=0x000000e9", 0xe9],
    ["file=/f,iobase=", 0xe9],
  ] as const)
    test(`--debug-console ${text}`, () =>
      expect(parseOption(debugConsoleSchema, text)).toEqual({ mode: "File", file: "/f", iobase: port }));
});

describe("refused", () => {
  const cases: readonly (readonly [ObjectSchema, string, new (...args: never[]) => Error, string?])[] = [
    [cpusSchema, "topology=1:2:3", ConversionError, "four numbers"],
    [cpusSchema, "topology=1:2:3:x", ConversionError],
    [cpusSchema, "topology=1:2:3:65536", ConversionError],
    [cpusSchema, "features=[amx,avx]", InvalidValueError, "avx"],
    [cpusSchema, "features=AMX", InvalidValueError],
    [cpusSchema, "boot=-1", ConversionError],
    [cpusSchema, "boot=4294967296", ConversionError],
    [cpusSchema, "max_phys_bits=256", ConversionError],
    [cpusSchema, "profile=host", ConversionError],
    [cpusSchema, "affinity=0@1", ConversionError],
    [memorySchema, "size=1T", ConversionError, "size"],
    [memorySchema, "hotplug_method=dimm", ConversionError],
    [memoryZoneSchema, "size=1G", MissingKeyError, "id"],
    [memoryZoneSchema, "id=", MissingKeyError, "id"],
    [diskSchema, "lock_granularity=Full", ConversionError],
    [diskSchema, "image_type=iso", ConversionError],
    [diskSchema, "bw_size=1K", ConversionError],
    [diskSchema, "queue_affinity=[65536@1]", ConversionError],
    [diskSchema, "poll_queue=on", UnknownKeyError, "poll_queue"],
    [diskSchema, "pci_segment=65536", PciKeysError],
    [diskSchema, "pci_device_id=x", PciKeysError],
    [diskSchema, "iommu=1", PciKeysError],
    [netSchema, "mac=1:2:3:4:5:6", ConversionError],
    [netSchema, "fd=3:4", ConversionError],
    [fsSchema, "socket=s", MissingKeyError, "tag"],
    [fsSchema, "tag=t", MissingKeyError, "socket"],
    [fsSchema, "tag=1234567890123456789012345678901234567,socket=s", ConversionError, "36"],
    [fsSchema, "tag=t,socket=s,iommu=on", UnknownKeyError],
    [fsSchema, "tag=t,socket=s,dax=on", UnknownKeyError],
    [pmemSchema, "", MissingKeyError],
    [pmemSchema, "file=f,mergeable=on", UnknownKeyError],
    [vsockSchema, "socket=s", MissingKeyError, "cid"],
    [vsockSchema, "cid=4294967296,socket=s", ConversionError],
    [vdpaSchema, "", MissingKeyError],
    [userDeviceSchema, "", MissingKeyError],
    [userDeviceSchema, "socket=s,iommu=off", UnknownKeyError],
    [tpmSchema, "", MissingKeyError],
    [ivshmemSchema, "size=1M", MissingKeyError],
    [genericVhostUserSchema, "socket=s,queue_sizes=[1]", MissingKeyError, "device_type"],
    [genericVhostUserSchema, "device_type=iommu,socket=s,queue_sizes=[1]", ConversionError, "iommu"],
    [genericVhostUserSchema, "device_type=23,socket=s,queue_sizes=[1]", ConversionError, "iommu"],
    [genericVhostUserSchema, "device_type=watchdog,socket=s,queue_sizes=[1]", ConversionError],
    [genericVhostUserSchema, "device_type=35,socket=s,queue_sizes=[1]", ConversionError],
    [genericVhostUserSchema, "device_type=0,socket=s,queue_sizes=[1]", ConversionError],
    [genericVhostUserSchema, "device_type=Net,socket=s,queue_sizes=[1]", ConversionError],
    [genericVhostUserSchema, 'device_type="",socket=s,queue_sizes=[1]', ConversionError],
    [genericVhostUserSchema, "device_type=net,socket=s,queue_sizes=[65536]", ConversionError],
    [serialSchema, "", InvalidValueError, "mode"],
    [serialSchema, "file=", MissingKeyError, "file"],
    [serialSchema, "socket=", MissingKeyError, "socket"],
    [serialSchema, "tty,iommu=on", UnknownKeyError],
    [consoleSchema, "id=x", InvalidValueError, "mode"],
    [consoleSchema, "file", Error],
    [debugConsoleSchema, "socket=/s", UnknownKeyError],
    [debugConsoleSchema, "tty,iobase=233", ConversionError],
    [debugConsoleSchema, "tty,iobase=0Xe9", ConversionError],
    [debugConsoleSchema, "tty,iobase=0x", ConversionError],
    [debugConsoleSchema, "tty,iobase=0x10000", ConversionError],
    [numaSchema, "cpus=[0]", MissingKeyError],
    [numaSchema, "guest_numa_id=0,device_id=d,cpus=[0]", InvalidValueError, "device_id"],
    [numaSchema, "guest_numa_id=0,device_id=d,memory_zones=[z]", InvalidValueError],
    [numaSchema, "guest_numa_id=0,distances=1@2", ConversionError],
    [landlockSchema, "path=p", MissingKeyError],
    [landlockSchema, "path=p,access=rwx", ConversionError, "two"],
    [fwCfgSchema, "items=", MissingKeyError],
    [fwCfgSchema, "items=[file=/f]", ConversionError, "name"],
    [restoreSchema, "", MissingKeyError],
    [restoreSchema, "source_url=x,zone_updates=[@1]", ConversionError],
  ];
  for (const [schema, text, type, message] of cases)
    test(`${schema.name} '${text}'`, () => {
      expect(() => parseOption(schema, text)).toThrow(type);
      if (message !== undefined) expect(() => parseOption(schema, text)).toThrow(message);
    });

  test("a wrong PCI key has the conversion error as its cause", () => {
    try {
      parseOption(diskSchema, "pci_segment=x");
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(PciKeysError);
      expect(error instanceof Error && error.cause).toBeInstanceOf(ConversionError);
    }
  });
});

describe("deprecated keys", () => {
  for (const [schema, text, key] of [
    [platformSchema, "uuid=u", "uuid"],
    [platformSchema, "serial_number=s", "serial_number"],
    [genericVhostUserSchema, "virtio_id=1,socket=s,queue_sizes=[1]", "virtio_id"],
  ] as const)
    test(`${key} makes a warning`, () => {
      const warnings: string[] = [];
      parseOption<ObjectSchema["members"]>(schema, text, warnings);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toContain(`'${key}'`);
    });
  test("their successors do not", () => {
    const warnings: string[] = [];
    parseOption(platformSchema, "system_uuid=u,system_serial_number=s", warnings);
    expect(warnings).toEqual([]);
  });
});
