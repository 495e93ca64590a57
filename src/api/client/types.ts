// Made from the API's schema by src/api/openapi/print-types.ts.

export interface VmmPingResponse {
  /** The build, as git describes it. */
  readonly build_version: string;
  /** Major.minor.patch. */
  readonly version: string;
  /** Process of the VMM. */
  readonly pid: number;
  /** What the VMM was built with. */
  readonly features: readonly string[];
}

export type VmState = "Created" | "Running" | "Shutdown" | "Paused" | "BreakPoint";

export interface VmConfig {
  readonly cpus?: CpusConfig;
  readonly memory?: MemoryConfig;
  readonly payload?: PayloadConfig;
  /** Limits that several disks share. */
  readonly rate_limit_groups?: readonly RateLimitGroupConfig[];
  /** Disks. */
  readonly disks?: readonly DiskConfig[];
  /** Network devices. */
  readonly net?: readonly NetConfig[];
  readonly rng?: RngConfig;
  readonly balloon?: BalloonConfig;
  /** Vhost-user devices of any type. */
  readonly generic_vhost_user?: readonly GenericVhostUserConfig[];
  /** Shared file systems. */
  readonly fs?: readonly FsConfig[];
  /** Persistent memory. */
  readonly pmem?: readonly PmemConfig[];
  readonly serial?: SerialConfig;
  readonly console?: ConsoleConfig;
  readonly debug_console?: DebugConsoleConfig;
  /** VFIO devices. */
  readonly devices?: readonly DeviceConfig[];
  /** Vfio-user devices. */
  readonly user_devices?: readonly UserDeviceConfig[];
  /** VDPA devices. */
  readonly vdpa?: readonly VdpaConfig[];
  readonly vsock?: VsockConfig;
  /** Panic notification device; default false. */
  readonly pvpanic?: boolean;
  /** Virtual IOMMU, which there is as soon as a device or segment needs it; default false. */
  readonly iommu?: boolean;
  /** NUMA nodes. */
  readonly numa?: readonly NumaConfig[];
  /** Watchdog device; default false. */
  readonly watchdog?: boolean;
  readonly rtc?: RtcConfig;
  /** Aperture weights of PCI segments. */
  readonly pci_segments?: readonly PciSegmentConfig[];
  readonly platform?: PlatformConfig;
  readonly tpm?: TpmConfig;
  /** Restrict the VMM's own file access; default false. */
  readonly landlock_enable?: boolean;
  /** Paths that stay accessible. */
  readonly landlock_rules?: readonly LandlockConfig[];
}

export interface CpusConfig {
  /** Virtual CPUs at boot. */
  readonly boot_vcpus: number;
  /** Most virtual CPUs that hotplug can reach. */
  readonly max_vcpus: number;
  readonly topology?: CpuTopology;
  /** Offer Hyper-V enlightenments to the guest; default false. */
  readonly kvm_hyperv?: boolean;
  /** Width of guest physical addresses, limited by the host's; default 46. */
  readonly max_phys_bits?: number;
  /** Host CPUs that each virtual CPU may run on. */
  readonly affinity?: readonly CpuAffinity[];
  readonly features?: CpuFeatures;
  /** Offer nested virtualisation to the guest; default true. */
  readonly nested?: boolean;
  readonly core_scheduling?: CoreSchedulingMode;
}

export interface CpuTopology {
  /** Threads of a core. */
  readonly threads_per_core: number;
  /** Cores of a die. */
  readonly cores_per_die: number;
  /** Dies of a package. */
  readonly dies_per_package: number;
  /** Packages (sockets). */
  readonly packages: number;
}

export interface CpuAffinity {
  /** Virtual CPU. */
  readonly vcpu: number;
  /** Host CPUs it may run on. */
  readonly host_cpus: readonly number[];
}

export interface CpuFeatures {
  /** Advanced Matrix Extensions; default false. */
  readonly amx?: boolean;
}

export type CoreSchedulingMode = "Vm" | "Vcpu" | "Off";

export interface MemoryConfig {
  /** RAM of the guest; 0 to use only --memory-zone. */
  readonly size: number;
  /** Let the host merge equal pages (KSM); default false. */
  readonly mergeable?: boolean;
  /** How RAM is added later; default "Acpi". */
  readonly hotplug_method?: "Acpi" | "VirtioMem";
  /** RAM that can be added. */
  readonly hotplug_size?: number;
  /** How much of it is plugged at boot (virtio-mem only). */
  readonly hotplugged_size?: number;
  /** Map the RAM so that other processes can share it; default false. */
  readonly shared?: boolean;
  /** Back the RAM by huge pages; default false. */
  readonly hugepages?: boolean;
  /** Size of the huge pages, a power of two; needs hugepages=on. */
  readonly hugepage_size?: number;
  /** Populate the RAM when it is created; default false. */
  readonly prefault?: boolean;
  /** Have the host reserve swap space or huge pages for all of the RAM; default false. */
  readonly reserve?: boolean;
  /** User-defined parts of the RAM. */
  readonly zones?: readonly MemoryZoneConfig[];
  /** Advise the host to use transparent huge pages; default true. */
  readonly thp?: boolean;
}

export interface MemoryZoneConfig {
  /** Name of the zone, unique in the VM. */
  readonly id: string;
  /** RAM of the zone. */
  readonly size: number;
  /** File that backs the zone. */
  readonly file?: string;
  /** Map the RAM so that other processes can share it; default false. */
  readonly shared?: boolean;
  /** Back the RAM by huge pages; default false. */
  readonly hugepages?: boolean;
  /** Size of the huge pages, a power of two; needs hugepages=on. */
  readonly hugepage_size?: number;
  /** Populate the RAM when it is created; default false. */
  readonly prefault?: boolean;
  /** Have the host reserve swap space or huge pages for all of the RAM; default false. */
  readonly reserve?: boolean;
  /** Host NUMA node the zone is bound to. */
  readonly host_numa_node?: number;
  /** RAM that can be added to the zone (virtio-mem only). */
  readonly hotplug_size?: number;
  /** How much of it is plugged at boot (virtio-mem only). */
  readonly hotplugged_size?: number;
  /** Let the host merge equal pages (KSM); default false. */
  readonly mergeable?: boolean;
}

export interface PayloadConfig {
  /** Firmware image. */
  readonly firmware?: string;
  /** Kernel. */
  readonly kernel?: string;
  /** Kernel command line. */
  readonly cmdline?: string;
  /** Initramfs. */
  readonly initramfs?: string;
}

export interface RateLimitGroupConfig {
  /** Name of the group, unique in the VM; must not be empty; default "". */
  readonly id?: string;
  readonly rate_limiter_config?: RateLimiterConfig;
}

export interface RateLimiterConfig {
  readonly bandwidth?: TokenBucket;
  readonly ops?: TokenBucket;
}

export interface TokenBucket {
  /** Tokens that the bucket holds: bytes or operations. */
  readonly size: number;
  /** Tokens there are at first, on top of the size. */
  readonly one_time_burst?: number;
  /** Milliseconds that refilling takes. */
  readonly refill_time: number;
}

export interface DiskConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** Put the device behind the virtual IOMMU; default false. */
  readonly iommu?: boolean;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** Image file or block device. */
  readonly path?: string;
  /** Refuse writes; default false. */
  readonly readonly?: boolean;
  /** Bypass the host's page cache (O_DIRECT); default false. */
  readonly direct?: boolean;
  /** Virtqueues, at most the boot vCPUs; default 1. */
  readonly num_queues?: number;
  /** Entries of a virtqueue, a power of two above 2; default 128. */
  readonly queue_size?: number;
  /** Use the vhost-user back end at socket; default false. */
  readonly vhost_user?: boolean;
  /** Socket of the vhost-user back end. */
  readonly vhost_socket?: string;
  /** Id of the --rate-limit-group the disk belongs to. */
  readonly rate_limit_group?: string;
  readonly rate_limiter_config?: RateLimiterConfig;
  /** Serial number of at most 20 bytes. */
  readonly serial?: string;
  /** Host CPUs that each virtqueue's thread may run on. */
  readonly queue_affinity?: readonly VirtQueueAffinity[];
  /** Follow the backing file or data file that a QCOW2 image names; default false. */
  readonly backing_files?: boolean;
  /** Let the image have holes; off allocates it in full; default true. */
  readonly sparse?: boolean;
  readonly image_type?: ImageType;
  readonly lock_granularity?: LockGranularity;
}

export interface VirtQueueAffinity {
  /** Virtqueue. */
  readonly queue_index: number;
  /** Host CPUs its thread may run on. */
  readonly host_cpus: readonly number[];
}

export type ImageType = "Raw" | "Qcow2" | "FixedVhd" | "Vhdx" | "FlatVmdk" | "Unknown";

export type LockGranularity = "ByteRange" | "Full";

export interface NetConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** Put the device behind the virtual IOMMU; default false. */
  readonly iommu?: boolean;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** TAP interface. */
  readonly tap?: string;
  /** Address of the host's side; needs mask. */
  readonly ip?: string;
  /** Network mask of the host's side; needs ip. */
  readonly mask?: string;
  /** MAC address of the guest's side. */
  readonly mac?: string;
  /** MAC address of the TAP interface. */
  readonly host_mac?: string;
  /** MTU, at least 1280. */
  readonly mtu?: number;
  /** Virtqueues, receive and transmit counted together; default 2. */
  readonly num_queues?: number;
  /** Entries of a virtqueue, a power of two; default 256. */
  readonly queue_size?: number;
  /** Use the vhost-user back end at socket; default false. */
  readonly vhost_user?: boolean;
  /** Socket of the vhost-user back end. */
  readonly vhost_socket?: string;
  /** Who listens on the socket: client, the back end; server, the VMM; default "Client". */
  readonly vhost_mode?: "Client" | "Server";
  /** User-mode network by passt, which needs no privileges; default false. */
  readonly user?: boolean;
  /** With user: ports of the host, on 127.0.0.1 or the address, that lead to the guest. */
  readonly forward?: readonly string[];
  readonly rate_limiter_config?: RateLimiterConfig;
  /** Offer TCP segmentation offload; default true. */
  readonly offload_tso?: boolean;
  /** Offer UDP fragmentation offload; default true. */
  readonly offload_ufo?: boolean;
  /** Offer checksum offload; default true. */
  readonly offload_csum?: boolean;
}

export interface RngConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** Put the device behind the virtual IOMMU; default false. */
  readonly iommu?: boolean;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** Source of entropy. */
  readonly src: string;
  readonly rate_limiter_config?: RateLimiterConfig;
}

export interface BalloonConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** Put the device behind the virtual IOMMU; default false. */
  readonly iommu?: boolean;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** Memory taken from the guest at first. */
  readonly size: number;
  /** Give memory back when the guest runs out; default false. */
  readonly deflate_on_oom?: boolean;
  /** Have the guest report free pages; default false. */
  readonly free_page_reporting?: boolean;
  /** Have the guest tell its memory statistics, for vm.counters; default false. */
  readonly statistics?: boolean;
}

export interface GenericVhostUserConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** Socket of the back end. */
  readonly socket: string;
  /** Entries of each virtqueue, powers of two. */
  readonly queue_sizes: readonly number[];
  /** Virtio device type, a name or a number. */
  readonly device_type: number;
}

export interface FsConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** Name to mount it by, at most 36 bytes. */
  readonly tag: string;
  /** Socket of virtiofsd. */
  readonly socket: string;
  /** Request queues; default 1. */
  readonly num_queues?: number;
  /** Entries of a virtqueue, a power of two; default 1024. */
  readonly queue_size?: number;
}

export interface PmemConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** Put the device behind the virtual IOMMU; default false. */
  readonly iommu?: boolean;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** File that holds the memory, or a directory for a temporary file. */
  readonly file: string;
  /** Size, a multiple of 2M; required with a directory. */
  readonly size?: number;
  /** Keep what the guest writes out of the file; default false. */
  readonly discard_writes?: boolean;
}

export interface SerialConfig {
  /** Path of mode File. */
  readonly file?: string;
  readonly mode: ConsoleMode;
  /** Path of mode Socket. */
  readonly socket?: string;
}

export type ConsoleMode = "Off" | "Pty" | "Tty" | "Null" | "File" | "Socket";

export interface ConsoleConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** Put the device behind the virtual IOMMU; default false. */
  readonly iommu?: boolean;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** Path of mode File. */
  readonly file?: string;
  readonly mode: ConsoleMode;
  /** Path of mode Socket. */
  readonly socket?: string;
}

export interface DebugConsoleConfig {
  /** Path of mode File. */
  readonly file?: string;
  readonly mode: ConsoleMode;
  /** I/O port. */
  readonly iobase?: number;
}

export interface DeviceConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** Put the device behind the virtual IOMMU; default false. */
  readonly iommu?: boolean;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** The device's directory in sysfs. */
  readonly path?: string;
  /** NVIDIA GPUDirect clique the device belongs to. */
  readonly x_nv_gpudirect_clique?: number;
  /** BARs, 0 to 5, that are not mapped into the guest. */
  readonly x_exclude_mmap_bars?: readonly number[];
}

export interface UserDeviceConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** Socket of the vfio-user device. */
  readonly socket: string;
}

export interface VdpaConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** Put the device behind the virtual IOMMU; default false. */
  readonly iommu?: boolean;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** Vhost-vdpa device node. */
  readonly path: string;
  /** Virtqueues; default 1. */
  readonly num_queues?: number;
}

export interface VsockConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** Put the device behind the virtual IOMMU; default false. */
  readonly iommu?: boolean;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
  /** Context id of the guest, 3 to 4294967294. */
  readonly cid: number;
  /** UNIX socket on the host. */
  readonly socket: string;
}

export interface NumaConfig {
  /** Number of the node. */
  readonly guest_numa_id: number;
  /** Virtual CPUs of the node. */
  readonly cpus?: readonly number[];
  /** Distances to other nodes. */
  readonly distances?: readonly NumaDistance[];
  /** Ids of the node's memory zones. */
  readonly memory_zones?: readonly string[];
  /** PCI segments near the node. */
  readonly pci_segments?: readonly number[];
  /** Device that initiates memory accesses, instead of CPUs and memory. */
  readonly device_id?: string;
}

export interface NumaDistance {
  /** The other node; default 0. */
  readonly destination?: number;
  /** How far it is, 10 being local; default 0. */
  readonly distance?: number;
}

export interface RtcConfig {
  /** Device identifier, unique in the VM, not beginning with '__'. */
  readonly id?: string;
  /** Put the device behind the virtual IOMMU; default false. */
  readonly iommu?: boolean;
  /** PCI segment the device is on; default 0. */
  readonly pci_segment?: number;
  /** Slot on the segment's bus, 0 to 31. */
  readonly pci_device_id?: number;
}

export interface PciSegmentConfig {
  /** Segment the weights are for. */
  readonly pci_segment: number;
  /** The segment's share of the 32-bit MMIO window; default 1. */
  readonly mmio32_aperture_weight?: number;
  /** The segment's share of the 64-bit MMIO window; default 1. */
  readonly mmio64_aperture_weight?: number;
}

export interface PlatformConfig {
  /** PCI segments of the machine, 1 to 96; default 1. */
  readonly num_pci_segments?: number;
  /** Segments whose devices are all behind the virtual IOMMU. */
  readonly iommu_segments?: readonly number[];
  /** Address width of the virtual IOMMU, at most 64; default 64. */
  readonly iommu_address_width_bits?: number;
  /** SMBIOS system serial number. */
  readonly system_serial_number?: string;
  /** SMBIOS system UUID. */
  readonly system_uuid?: string;
  /** SMBIOS OEM strings (type 11). */
  readonly oem_strings?: readonly string[];
  /** SMBIOS system manufacturer. */
  readonly system_manufacturer?: string;
  /** SMBIOS system product name. */
  readonly system_product_name?: string;
  /** SMBIOS system version. */
  readonly system_version?: string;
  /** SMBIOS system family. */
  readonly system_family?: string;
  /** SMBIOS system SKU number. */
  readonly system_sku_number?: string;
  /** SMBIOS chassis asset tag. */
  readonly chassis_asset_tag?: string;
  /** Use iommufd for VFIO devices; default false. */
  readonly iommufd?: boolean;
  /** Let VFIO devices reach each other's memory; default true. */
  readonly vfio_p2p_dma?: boolean;
}

export interface TpmConfig {
  /** Control socket of swtpm. */
  readonly socket: string;
}

export interface LandlockConfig {
  /** File or directory, which must exist. */
  readonly path: string;
  /** What is allowed: r to read, w to write. */
  readonly access: string;
}

export interface VmInfo {
  readonly config: VmConfig;
  readonly state: VmState;
  /** RAM that the guest has, in bytes. */
  readonly memory_actual_size: number;
  /** Devices by their ids, when the VM is booted. */
  readonly device_tree?: Readonly<Record<string, DeviceNode>>;
}

export interface DeviceNode {
  readonly id: string;
  /** Each an object with one member, whose name says of what kind the resource is. */
  readonly resources: readonly Readonly<Record<string, unknown>>[];
  /** Id of the node above. */
  readonly parent?: string;
  /** Ids of the nodes below. */
  readonly children: readonly string[];
  /** Place on the PCI buses, as 0000:00:03.0. */
  readonly pci_bdf?: string;
}

/** Counters by the device's id and by their names. */
export type VmCounters = Readonly<Record<string, Readonly<Record<string, number>>>>;

export interface PciDeviceInfo {
  readonly id: string;
  /** Place on the PCI buses, as 0000:00:03.0. */
  readonly bdf: string;
}

/** What went wrong, from the outermost description to the root cause. */
export type ErrorTexts = readonly string[];

export interface VmResize {
  /** How many virtual CPUs there are to be. */
  readonly desired_vcpus?: number;
  /** How much RAM there is to be, that at boot included, in bytes. */
  readonly desired_ram?: number;
  /** How much RAM the balloon is to take, in bytes. */
  readonly desired_balloon?: number;
}

export interface VmResizeDisk {
  /** Id of the disk. */
  readonly id: string;
  /** Its new size in bytes. */
  readonly desired_size: number;
}

export interface VmResizeZone {
  /** Id of the memory zone. */
  readonly id: string;
  /** Its new size, that at boot included, in bytes. */
  readonly desired_ram: number;
}

export interface VmRemoveDevice {
  /** Id of the device. */
  readonly id: string;
}

export interface VmSnapshotConfig {
  /** File://<existing directory>. */
  readonly destination_url: string;
}

export interface RestoreConfig {
  /** File://<directory of the snapshot>. */
  readonly source_url: string;
  /** Populate the RAM while it is read; default false. */
  readonly prefault?: boolean;
  readonly memory_restore_mode?: MemoryRestoreMode;
  /** Let the VM run; else it stays paused; default false. */
  readonly resume?: boolean;
  /** Host NUMA nodes that memory zones move to. */
  readonly zone_updates?: readonly VmMemoryZoneUpdateData[];
}

export type MemoryRestoreMode = "Copy" | "OnDemand";

export interface VmMemoryZoneUpdateData {
  /** Id of a memory zone. */
  readonly id: string;
  /** Host NUMA node it moves to. */
  readonly host_numa_node: number;
}

export interface VmCoredumpData {
  /** File://<new file>. */
  readonly destination_url: string;
}

export interface ReceiveMigrationData {
  /** Tcp:<address>:<port> or unix:<path>. */
  readonly receiver_url: string;
  /** Directory with ca-cert.pem, server-cert.pem and server-key.pem; tcp: only. */
  readonly tls_dir?: string;
  readonly memory_mode?: MigrationMode;
  /** Host NUMA nodes that memory zones move to. */
  readonly zone_updates?: readonly VmMemoryZoneUpdateData[];
}

export type MigrationMode = "Precopy" | "Postcopy";

export interface SendMigrationData {
  /** Tcp:<host>:<port> or unix:<path>. */
  readonly destination_url: string;
  /** Hand the memory over by file descriptor; unix: only; default false. */
  readonly local?: boolean;
  /** Longest stop of the guest to aim for, in milliseconds; default 300. */
  readonly downtime_ms?: number;
  /** Longest time for sending memory while the guest runs, in seconds; default 3600. */
  readonly timeout_s?: number;
  readonly timeout_strategy?: TimeoutStrategy;
  /** Parallel TCP connections, at most 128; default 1. */
  readonly connections?: number;
  /** Directory with ca-cert.pem, client-cert.pem and client-key.pem; tcp: only. */
  readonly tls_dir?: string;
  readonly memory_mode?: MigrationMode;
}

export type TimeoutStrategy = "Cancel" | "Ignore";

/** What each endpoint takes and gives. */
export interface Operations {
  /** Ping the VMM. */
  readonly "vmm.ping": { readonly method: "GET"; readonly body: undefined; readonly result: VmmPingResponse };
  /** Shut the VMM down. */
  readonly "vmm.shutdown": { readonly method: "PUT"; readonly body: undefined; readonly result: undefined };
  /** Tell about the VM. */
  readonly "vm.info": { readonly method: "GET"; readonly body: undefined; readonly result: VmInfo };
  /** Read the counters of the VM. */
  readonly "vm.counters": { readonly method: "GET"; readonly body: undefined; readonly result: VmCounters };
  /** Create the VM. */
  readonly "vm.create": { readonly method: "PUT"; readonly body: VmConfig; readonly result: undefined };
  /** Delete the VM. */
  readonly "vm.delete": { readonly method: "PUT"; readonly body: undefined; readonly result: undefined };
  /** Boot the VM. */
  readonly "vm.boot": { readonly method: "PUT"; readonly body: undefined; readonly result: undefined };
  /** Shut the VM down. */
  readonly "vm.shutdown": { readonly method: "PUT"; readonly body: undefined; readonly result: undefined };
  /** Reboot the VM. */
  readonly "vm.reboot": { readonly method: "PUT"; readonly body: undefined; readonly result: undefined };
  /** Pause the VM. */
  readonly "vm.pause": { readonly method: "PUT"; readonly body: undefined; readonly result: undefined };
  /** Resume the VM. */
  readonly "vm.resume": { readonly method: "PUT"; readonly body: undefined; readonly result: undefined };
  /** Press the power button of the VM. */
  readonly "vm.power-button": { readonly method: "PUT"; readonly body: undefined; readonly result: undefined };
  /** Send the VM an NMI. */
  readonly "vm.nmi": { readonly method: "PUT"; readonly body: undefined; readonly result: undefined };
  /** Resize the VM. */
  readonly "vm.resize": { readonly method: "PUT"; readonly body: VmResize; readonly result: undefined };
  /** Resize the disk. */
  readonly "vm.resize-disk": { readonly method: "PUT"; readonly body: VmResizeDisk; readonly result: undefined };
  /** Resize the memory zone. */
  readonly "vm.resize-zone": { readonly method: "PUT"; readonly body: VmResizeZone; readonly result: undefined };
  /** Add a device to the VM. */
  readonly "vm.add-device": {
    readonly method: "PUT";
    readonly body: DeviceConfig;
    readonly result: PciDeviceInfo | undefined;
  };
  /** Add a vfio-user device to the VM. */
  readonly "vm.add-user-device": {
    readonly method: "PUT";
    readonly body: UserDeviceConfig;
    readonly result: PciDeviceInfo | undefined;
  };
  /** Add a disk to the VM. */
  readonly "vm.add-disk": {
    readonly method: "PUT";
    readonly body: DiskConfig;
    readonly result: PciDeviceInfo | undefined;
  };
  /** Add a shared file system to the VM. */
  readonly "vm.add-fs": { readonly method: "PUT"; readonly body: FsConfig; readonly result: PciDeviceInfo | undefined };
  /** Add a vhost-user device to the VM. */
  readonly "vm.add-generic-vhost-user": {
    readonly method: "PUT";
    readonly body: GenericVhostUserConfig;
    readonly result: PciDeviceInfo | undefined;
  };
  /** Add persistent memory to the VM. */
  readonly "vm.add-pmem": {
    readonly method: "PUT";
    readonly body: PmemConfig;
    readonly result: PciDeviceInfo | undefined;
  };
  /** Add a network device to the VM. */
  readonly "vm.add-net": {
    readonly method: "PUT";
    readonly body: NetConfig;
    readonly result: PciDeviceInfo | undefined;
  };
  /** Add a vDPA device to the VM. */
  readonly "vm.add-vdpa": {
    readonly method: "PUT";
    readonly body: VdpaConfig;
    readonly result: PciDeviceInfo | undefined;
  };
  /** Add a socket device to the VM. */
  readonly "vm.add-vsock": {
    readonly method: "PUT";
    readonly body: VsockConfig;
    readonly result: PciDeviceInfo | undefined;
  };
  /** Remove the device. */
  readonly "vm.remove-device": { readonly method: "PUT"; readonly body: VmRemoveDevice; readonly result: undefined };
  /** Take a snapshot of the VM. */
  readonly "vm.snapshot": { readonly method: "PUT"; readonly body: VmSnapshotConfig; readonly result: undefined };
  /** Restore the VM. */
  readonly "vm.restore": { readonly method: "PUT"; readonly body: RestoreConfig; readonly result: undefined };
  /** Dump the memory of the VM. */
  readonly "vm.coredump": { readonly method: "PUT"; readonly body: VmCoredumpData; readonly result: undefined };
  /** Receive a VM. */
  readonly "vm.receive-migration": {
    readonly method: "PUT";
    readonly body: ReceiveMigrationData;
    readonly result: undefined;
  };
  /** Send the VM away. */
  readonly "vm.send-migration": {
    readonly method: "PUT";
    readonly body: SendMigrationData;
    readonly result: undefined;
  };
}
