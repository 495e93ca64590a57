import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BlockRequest } from "../../../src/block/linux-abi.ts";
import { blockConfig } from "../../../src/devices/virtio/block/protocol.ts";
import { NetFeature, netConfig } from "../../../src/devices/virtio/net/protocol.ts";
import { virtqDescriptor } from "../../../src/devices/virtio/queue/layout.ts";
import * as aio from "../../../src/host/aio.ts";
import { epollEvent } from "../../../src/host/epoll.ts";
import { Errno } from "../../../src/host/errno.ts";
import { AllocateFlag } from "../../../src/host/fallocate.ts";
import { flock } from "../../../src/host/file-lock.ts";
import * as uring from "../../../src/host/io-uring/abi.ts";
import { _IO, _IOR, _IOW, _IOWR } from "../../../src/host/ioctl.ts";
import { iovec } from "../../../src/host/iovec.ts";
import { Madvise, MapFlag, Prot } from "../../../src/host/mmap.ts";
import { pollfd } from "../../../src/host/poll.ts";
import { Sys } from "../../../src/host/syscall-numbers.ts";
import { termios, winsize } from "../../../src/host/tty.ts";
import { cmsghdr, msghdr, Socket, sockaddrUn } from "../../../src/host/unix-socket.ts";
import * as kvm from "../../../src/hypervisor/kvm/abi.ts";
import * as kvmStats from "../../../src/hypervisor/kvm/stats.ts";
import * as tap from "../../../src/net/tap-abi.ts";

interface Layout {
  readonly name: string;
  readonly size: number;
  readonly offsets: Readonly<Record<string, number>>;
}

/** Our names of members that C nests or calls differently; undefined for what C has no member for. */
const RENAMED: Readonly<Record<string, string | undefined>> = {
  "kvm_irq_routing_entry.address_lo": "u.msi.address_lo",
  "kvm_irq_routing_entry.address_hi": "u.msi.address_hi",
  "kvm_irq_routing_entry.data": "u.msi.data",
  "kvm_irq_routing_entry.devid": "u.msi.devid",
  "kvm_irq_routing_entry.union_rest": undefined,
  "kvm_enable_cap.arg0": "args[0]",
  "kvm_enable_cap.pad": "args[1]",
  "io_uring_sqe.pad2": "__pad2",
  "io_uring_restriction.value": "sqe_op",
  "virtio_blk_config.cylinders": "geometry.cylinders",
  "virtio_blk_config.heads": "geometry.heads",
  "virtio_blk_config.sectors": "geometry.sectors",
  "virtio_blk_config.writeback": "wce",
  "virtio_blk_config.unused0": "unused",
  "virtio_blk_config.unused2": undefined,
  "ifreq.sa_family": "ifr_addr.sa_family",
  "ifreq.sa_data": "ifr_addr.sa_data",
  "ifreq.rest": undefined,
  // Reserved under another name in headers before Linux 6.5.
  "io_sqring_offsets.user_addr": undefined,
  "io_cqring_offsets.user_addr": undefined,
};

/** Structures that Linux and the standard that they come from call differently. */
const C_NAMES: Readonly<Record<string, string>> = { virtq_desc: "vring_desc" };

/** Descriptions of the beginning of a structure: their size is not C's. */
const HEADS = new Set(["kvm_run", "io_uring_probe", "virtio_blk_config", "virtio_net_config"]);

/** What C must say: an expression and the value that this project uses for it. */
const expectations = new Map<string, number>();

function expectLayout({ name, size, offsets }: Layout): void {
  const type = `struct ${C_NAMES[name] ?? name}`;
  if (!HEADS.has(name)) expectations.set(`sizeof(${type})`, size);
  for (const [field, offset] of Object.entries(offsets)) {
    const key = `${name}.${field}`;
    const member = key in RENAMED ? RENAMED[key] : field;
    if (member !== undefined) expectations.set(`offsetof(${type}, ${member})`, offset);
  }
}

function expectConstants(prefix: string, constants: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(constants))
    if (typeof value === "number" || typeof value === "bigint") expectations.set(`${prefix}${name}`, Number(value));
}

const isLayout = (value: unknown): value is Layout => typeof value === "object" && value !== null && "offsets" in value;

for (const layout of [
  cmsghdr,
  epollEvent,
  flock,
  iovec,
  msghdr,
  pollfd,
  sockaddrUn,
  termios,
  winsize,
  blockConfig,
  netConfig,
  virtqDescriptor,
])
  expectLayout(layout);
for (const value of [
  ...Object.values(aio),
  ...Object.values(uring),
  ...Object.values(kvm),
  ...Object.values(kvmStats),
  ...Object.values(tap),
])
  if (isLayout(value)) expectLayout(value);

/** Structures that are filled in by offset. */
expectations.set("sizeof(struct timespec)", 16);
expectations.set("offsetof(struct timespec, tv_nsec)", 8);
expectations.set("sizeof(struct sigaction)", 152);
expectations.set("offsetof(struct sigaction, sa_handler)", 0);
for (const [part, offsets] of Object.entries(kvm.KvmRunOffset)) {
  const union = part === "system_event" || part === "internal" || part === "fail_entry" || part === "eoi" ? part : "";
  if (typeof offsets === "number") expectations.set(`offsetof(struct kvm_run, ${part})`, offsets);
  else
    for (const [field, offset] of Object.entries(offsets))
      expectations.set(`offsetof(struct kvm_run, ${union === "" ? part : union}.${field})`, offset);
}

expectConstants("KVM_", kvm.Kvm);
expectConstants("KVM_CAP_", kvm.KvmCap);
expectConstants("KVM_EXIT_", kvm.KvmExit);
expectConstants("KVM_SYSTEM_EVENT_", kvm.KvmSystemEvent);
expectConstants("", Object.fromEntries(Object.entries(kvm).filter(([name]) => name.startsWith("KVM_"))));
expectConstants("E", Object.fromEntries(Object.entries(Errno).map(([name, value]) => [name.slice(1), value])));
expectConstants("__NR_", Sys);
expectConstants("PROT_", Prot);
expectConstants("MAP_", MapFlag);
expectConstants("MADV_", Madvise);
expectConstants("FALLOC_FL_", AllocateFlag);
expectConstants("", BlockRequest);
expectConstants("IORING_OP_", uring.IoUringOp);
expectConstants("IOCB_CMD_", aio.IocbCommand);
expectConstants("", Socket);
expectConstants("VIRTIO_NET_F_", NetFeature);
expectConstants("IFF_", tap.TunFlag);
expectConstants("TUN_F_", tap.TunOffload);
for (const [c, value] of Object.entries({
  IOCB_FLAG_RESFD: aio.IOCB_FLAG_RESFD,
  IORING_SETUP_CQSIZE: uring.SETUP_CQSIZE,
  IORING_SETUP_CLAMP: uring.SETUP_CLAMP,
  IORING_SETUP_SUBMIT_ALL: uring.SETUP_SUBMIT_ALL,
  IORING_SETUP_COOP_TASKRUN: uring.SETUP_COOP_TASKRUN,
  IORING_SETUP_SINGLE_ISSUER: uring.SETUP_SINGLE_ISSUER,
  IORING_SETUP_DEFER_TASKRUN: uring.SETUP_DEFER_TASKRUN,
  IORING_FEAT_SINGLE_MMAP: uring.FEAT_SINGLE_MMAP,
  IORING_OFF_SQ_RING: uring.OFF_SQ_RING,
  IORING_OFF_CQ_RING: uring.OFF_CQ_RING,
  IORING_OFF_SQES: uring.OFF_SQES,
  IORING_ENTER_GETEVENTS: uring.ENTER_GETEVENTS,
  IORING_REGISTER_FILES: uring.REGISTER_FILES,
  IORING_REGISTER_PROBE: uring.REGISTER_PROBE,
  IO_URING_OP_SUPPORTED: uring.OP_SUPPORTED,
  IOSQE_FIXED_FILE: uring.SQE_FIXED_FILE,
  IOSQE_ASYNC: uring.SQE_ASYNC,
  IORING_FSYNC_DATASYNC: uring.FSYNC_DATASYNC,
  IORING_POLL_ADD_MULTI: uring.POLL_ADD_MULTI,
  IORING_CQE_F_MORE: uring.CQE_F_MORE,
  RWF_NOWAIT: uring.RWF_NOWAIT,
  TUNGETFEATURES: tap.TunRequest.GET_FEATURES,
  TUNSETIFF: tap.TunRequest.SET_IFF,
  TUNSETOFFLOAD: tap.TunRequest.SET_OFFLOAD,
  TUNGETIFF: tap.TunRequest.GET_IFF,
  TUNSETVNETHDRSZ: tap.TunRequest.SET_VNET_HDR_SIZE,
  TUNSETQUEUE: tap.TunRequest.SET_QUEUE,
  SIOCGIFFLAGS: tap.InterfaceRequest.GET_FLAGS,
  SIOCSIFFLAGS: tap.InterfaceRequest.SET_FLAGS,
  SIOCSIFADDR: tap.InterfaceRequest.SET_ADDRESS,
  SIOCSIFNETMASK: tap.InterfaceRequest.SET_NETMASK,
  SIOCGIFMTU: tap.InterfaceRequest.GET_MTU,
  SIOCSIFMTU: tap.InterfaceRequest.SET_MTU,
  SIOCSIFHWADDR: tap.InterfaceRequest.SET_MAC,
  SIOCGIFHWADDR: tap.InterfaceRequest.GET_MAC,
  SIOCGIFINDEX: tap.InterfaceRequest.GET_INDEX,
  IFNAMSIZ: tap.IFNAMSIZ,
  IFF_UP: tap.IFF_UP,
  AF_INET: tap.AF_INET,
  AF_INET6: tap.AF_INET6,
  ARPHRD_ETHER: tap.ARPHRD_ETHER,
  "sizeof(struct virtio_net_hdr_v1)": tap.VNET_HDR_BYTES,
}))
  expectations.set(c, value);
expectations.set("_IO(0x12, 119)", _IO(0x12, 119));
expectations.set("_IOR(0xae, 5, char[392])", _IOR(0xae, 5, 392));
expectations.set("_IOW(0xae, 255, char[16383])", _IOW(0xae, 255, 16383));
expectations.set("_IOWR(0xff, 0, char[8])", _IOWR(0xff, 0, 8));

test("structures, requests and constants are those of the C headers", () => {
  const folder = mkdtempSync(join(tmpdir(), "abi-"));
  try {
    const source = join(folder, "abi.c");
    const program = join(folder, "abi");
    const prints = [...expectations.keys()].map((c) => `  printf("%llu\\n", (unsigned long long)(${c}));`);
    writeFileSync(
      source,
      `#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/uio.h>
#include <termios.h>
#include <time.h>
#include <linux/aio_abi.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <linux/ipv6.h>
#include <linux/kvm.h>
#include <linux/sockios.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
int main(void) {
${prints.join("\n")}
  return 0;
}
`,
    );
    const compiled = Bun.spawnSync(["gcc", "-Wall", "-o", program, source]);
    expect(compiled.stderr.toString()).toBe("");
    const values = Bun.spawnSync([program]).stdout.toString().trimEnd().split("\n").map(Number);
    const actual = Object.fromEntries([...expectations.keys()].map((c, i) => [c, values[i]]));
    expect(Object.fromEntries(expectations)).toEqual(actual as Record<string, number>);
    expect(values.length).toBe(expectations.size);
    expect(expectations.size).toBeGreaterThan(300);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
