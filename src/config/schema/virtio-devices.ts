import { Expected } from "../grammar/errors.ts";
import { parseInteger, U32 } from "../grammar/integers.ts";
import { unquote } from "../grammar/text.ts";
import { type Config, objectSchema, optional, required, withDefault } from "./object-schema.ts";
import { pciMembers, pciMembersWithoutIommu } from "./pci-keys.ts";
import { rateLimiter } from "./rate-limiter.ts";
import type { ReadableType } from "./value-type.ts";
import { bool, integerList, path, size, string, u16, u32, usize } from "./value-types.ts";

export const rngSchema = objectSchema("RngConfig", () => ({
  ...pciMembers,
  src: withDefault(path, "/dev/urandom", "source of entropy", { json: { required: true } }),
  rate_limiter_config: rateLimiter,
}));
export type RngConfig = Config<typeof rngSchema>;

export const rtcSchema = objectSchema("RtcConfig", () => ({ ...pciMembers }));
export type RtcConfig = Config<typeof rtcSchema>;

export const balloonSchema = objectSchema("BalloonConfig", () => ({
  ...pciMembers,
  size: withDefault(size, 0, "memory taken from the guest at first", { json: { required: true } }),
  deflate_on_oom: withDefault(bool, false, "give memory back when the guest runs out"),
  free_page_reporting: withDefault(bool, false, "have the guest report free pages"),
  statistics: withDefault(bool, false, "have the guest tell its memory statistics, for vm.counters", {
    json: { omitFalse: true },
  }),
}));
export type BalloonConfig = Config<typeof balloonSchema>;

/** Length of a file system tag: virtio specification 1.3, section 5.11.4. */
const MAX_TAG_BYTES = 36;

const tag: ReadableType<string> = {
  ...string,
  parse: (raw) => {
    const name = unquote(raw);
    if (Buffer.byteLength(name) > MAX_TAG_BYTES) throw new Expected(`at most ${MAX_TAG_BYTES} bytes`);
    return name;
  },
};

export const fsSchema = objectSchema("FsConfig", () => ({
  ...pciMembersWithoutIommu,
  tag: required(tag, "name to mount it by, at most 36 bytes"),
  socket: required(path, "socket of virtiofsd"),
  num_queues: withDefault(usize, 1, "request queues"),
  queue_size: withDefault(u16, 1024, "entries of a virtqueue, a power of two"),
}));
export type FsConfig = Config<typeof fsSchema>;

export const pmemSchema = objectSchema("PmemConfig", () => ({
  ...pciMembers,
  file: required(path, "file that holds the memory, or a directory for a temporary file"),
  size: optional(size, "size, a multiple of 2M; required with a directory", { defaultText: "that of the file" }),
  discard_writes: withDefault(bool, false, "keep what the guest writes out of the file"),
}));
export type PmemConfig = Config<typeof pmemSchema>;

export const vsockSchema = objectSchema("VsockConfig", () => ({
  ...pciMembers,
  cid: required(u32, "context id of the guest, 3 to 4294967294"),
  socket: required(path, "UNIX socket on the host"),
}));
export type VsockConfig = Config<typeof vsockSchema>;

export const vdpaSchema = objectSchema("VdpaConfig", () => ({
  ...pciMembers,
  path: required(path, "vhost-vdpa device node"),
  num_queues: withDefault(usize, 1, "virtqueues"),
}));
export type VdpaConfig = Config<typeof vdpaSchema>;

/** virtio specification 1.3, section 5: the name at index n is that of device type n. Empty: no name. */
const VIRTIO_NAMES = (
  ",net,block,console,rng,balloon,iomem,rpmsg,scsi,9p,mac80211_wlan,rproc_serial,caif,memory_balloon,,,gpu,clock,input," +
  "vsock,crypto,signal_dist,pstore,iommu,mem,sound,fs,pmem,rpmb,mac80211_hwsim,video_encoder,video_decoder,scmi," +
  "nitro_sec_mod,i2c,watchdog,can,dmabuf,param_serv,audio_policy,bt,gpio,rdma,camera,ism,spi,tee,cpu_balloon,media,usb"
).split(",");

/** The VMM must provide these itself: IOMMU and watchdog. */
const UNSUPPORTED_TYPES: ReadonlySet<number> = new Set([23, 35]);

const virtioType: ReadableType<number> = {
  label: "<name|n>",
  json: u32.json,
  parse: (raw) => {
    const text = unquote(raw);
    const type = /^[1-9]/.test(text) && text !== "9p" ? parseInteger(text, U32) : VIRTIO_NAMES.indexOf(text);
    if (type <= 0) throw new Expected("the name or number of a virtio device type");
    if (UNSUPPORTED_TYPES.has(type))
      throw new Expected(`a type other than ${VIRTIO_NAMES[type]}, which is not supported`);
    return type;
  },
};

export const genericVhostUserSchema = objectSchema("GenericVhostUserConfig", () => ({
  ...pciMembersWithoutIommu,
  socket: required(string, "socket of the back end"),
  queue_sizes: required(integerList("u16"), "entries of each virtqueue, powers of two"),
  device_type: required(virtioType, "virtio device type, a name or a number", { oldKey: "virtio_id" }),
}));
export type GenericVhostUserConfig = Config<typeof genericVhostUserSchema>;
