import { type Config, composed, objectSchema, optional, required, withDefault } from "./object-schema.ts";
import { pciMembers } from "./pci-keys.ts";
import { rateLimiter } from "./rate-limiter.ts";
import { bool, integerList, oneOf, pairs, path, string, u16, usize } from "./value-types.ts";

export const queueAffinitySchema = objectSchema("VirtQueueAffinity", () => ({
  queue_index: required(u16, "virtqueue"),
  host_cpus: required(integerList("usize"), "host CPUs its thread may run on"),
}));
export type VirtQueueAffinity = Config<typeof queueAffinitySchema>;

const queueAffinity = pairs<number, readonly number[], VirtQueueAffinity>({
  label: "<[queue@[cpu,cpu-cpu]]>",
  json: { kind: "object", schema: queueAffinitySchema },
  key: u16,
  value: integerList("usize"),
  make: (queue_index, host_cpus) => ({ queue_index, host_cpus }),
});

const IMAGE_TYPES = { raw: "Raw", qcow2: "Qcow2", vhd: "FixedVhd", vhdx: "Vhdx", vmdk: "FlatVmdk" } as const;
const givenImageType = oneOf(IMAGE_TYPES);

/** Format of a disk image. `Unknown`: to be found out from the image itself. */
export type ImageType = (typeof IMAGE_TYPES)[keyof typeof IMAGE_TYPES] | "Unknown";

const imageTypeDoc = "format of the image; to leave it out is deprecated";

export const diskSchema = objectSchema("DiskConfig", () => ({
  ...pciMembers,
  path: optional(path, "image file or block device"),
  readonly: withDefault(bool, false, "refuse writes"),
  direct: withDefault(bool, false, "bypass the host's page cache (O_DIRECT)"),
  num_queues: withDefault(usize, 1, "virtqueues, at most the boot vCPUs"),
  queue_size: withDefault(u16, 128, "entries of a virtqueue, a power of two above 2"),
  vhost_user: withDefault(bool, false, "use the vhost-user back end at socket"),
  vhost_socket: optional(string, "socket of the vhost-user back end", { key: "socket" }),
  rate_limit_group: optional(string, "id of the --rate-limit-group the disk belongs to"),
  rate_limiter_config: rateLimiter,
  disable_io_uring: withDefault(bool, false, "do not use io_uring", {
    key: "_disable_io_uring",
    hidden: true,
    json: { undocumented: true },
  }),
  disable_aio: withDefault(bool, false, "do not use Linux AIO", {
    key: "_disable_aio",
    hidden: true,
    json: { undocumented: true },
  }),
  serial: optional(string, "serial number of at most 20 bytes", { defaultText: "derived from the file" }),
  queue_affinity: optional(queueAffinity, "host CPUs that each virtqueue's thread may run on"),
  backing_files: withDefault(bool, false, "follow the backing file or data file that a QCOW2 image names"),
  sparse: withDefault(bool, true, "let the image have holes; off allocates it in full"),
  image_type: composed<ImageType, "present">(
    "present",
    { kind: "enum", values: [...Object.values(IMAGE_TYPES), "Unknown"] },
    imageTypeDoc,
    [{ name: "image_type", label: givenImageType.label, doc: imageTypeDoc, defaultText: "detected" }],
    (given) => (given.raw("socket") === undefined ? given.value("image_type", givenImageType.parse) : undefined),
    { initial: "Unknown" },
  ),
  lock_granularity: withDefault(
    oneOf({ "byte-range": "ByteRange", full: "Full" }, "exact"),
    "ByteRange",
    "extent of the advisory lock on the image",
  ),
}));
export type DiskConfig = Config<typeof diskSchema>;
