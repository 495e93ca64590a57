import type { DiskConfig } from "../schema/disk.ts";
import type { NetConfig } from "../schema/net.ts";
import { type Checks, checkQueueSize, deviceName, refuse } from "./checks.ts";

/** Length of a virtio-blk identifier: virtio specification 1.3, section 5.2.6. */
const MAX_SERIAL_BYTES = 20;
const MIN_QUEUE_SIZE = 2;

/** Rule 12. @throws ValidationError */
export function checkRateLimitGroups(checks: Checks): void {
  for (const [index, group] of (checks.config.rate_limit_groups ?? []).entries()) {
    const { bandwidth, ops } = group.rate_limiter_config;
    if (bandwidth === undefined && ops === undefined)
      refuse(
        "rate-limit-group",
        `${deviceName("--rate-limit-group", index, group.id)} limits nothing: give a size and a refill time`,
      );
    if (group.id === "") refuse("rate-limit-group", `--rate-limit-group number ${index + 1} has no id`);
    checks.id(group.id);
  }
}

function checkDisk(checks: Checks, what: string, disk: DiskConfig): void {
  const { boot_vcpus: boot } = checks.config.cpus;
  if (disk.path !== undefined && disk.vhost_socket !== undefined)
    refuse("disk-path-and-socket", `${what}: path and socket exclude each other`);
  if (disk.vhost_user) {
    checks.needSharedRam(what);
    if (disk.vhost_socket === undefined) refuse("vhost-user-socket", `${what}: vhost_user needs a socket`);
    if (disk.rate_limiter_config !== undefined || disk.rate_limit_group !== undefined)
      refuse("vhost-user-rate-limit", `${what}: a vhost-user device cannot be rate-limited`);
  }
  const group = disk.rate_limit_group;
  if (group !== undefined && !checks.config.rate_limit_groups?.some(({ id }) => id === group))
    refuse("rate-limit-group", `${what}: there is no --rate-limit-group '${group}'`);
  checks.pci(what, disk);
  if (disk.num_queues > boot)
    refuse("disk-queues", `${what}: ${disk.num_queues} queues, more than CPUs at boot: ${boot}`);
  checkQueueSize(what, disk.queue_size);
  if (disk.queue_size <= MIN_QUEUE_SIZE)
    refuse(
      "disk-queue-size-small",
      `${what}: queue size ${disk.queue_size} is too small, it must be above ${MIN_QUEUE_SIZE}`,
    );
  if (disk.vhost_user && disk.iommu)
    refuse("vhost-user-iommu", `${what}: a vhost-user device cannot be behind the IOMMU`);
  if (disk.rate_limiter_config !== undefined && group !== undefined)
    refuse("rate-limit-group", `${what}: limits of its own and a rate_limit_group exclude each other`);
  if (disk.serial !== undefined) {
    const length = Buffer.byteLength(disk.serial);
    if (length > MAX_SERIAL_BYTES)
      refuse("disk-serial", `${what}: serial is ${length} bytes long, at most ${MAX_SERIAL_BYTES} are possible`);
  }
  checks.id(disk.id);
}

/** Rules 13 to 24. @throws ValidationError */
export function checkDisks(checks: Checks): void {
  for (const [index, disk] of (checks.config.disks ?? []).entries())
    checkDisk(checks, deviceName("--disk", index, disk.id), disk);
}

/** Smallest MTU that IPv6 allows: RFC 8200 section 5. */
const MIN_MTU = 1280;
/** Standard input, output and error. */
const LAST_STANDARD_FD = 2;

/** The largest Ethernet frame that passt takes, without its header, in whole IPv4 words. */
const MAX_USER_MTU = 65_520;

function checkUserNet(what: string, net: NetConfig): void {
  if (!net.user) {
    if (net.forward !== undefined) refuse("net-forward", `${what}: forward needs user=on`);
    return;
  }
  const others = {
    tap: net.tap,
    fd: net.fds,
    ip: net.ip,
    mask: net.mask,
    host_mac: net.host_mac,
    socket: net.vhost_socket,
  };
  const given = Object.entries(others).find(([, value]) => value !== undefined)?.[0];
  const other = net.vhost_user ? "vhost_user" : given;
  if (other !== undefined) refuse("net-user", `${what}: user=on and ${other} exclude each other`);
  if (net.num_queues > 3)
    refuse("net-user-queues", `${what}: a user-mode network has one pair of queues: num_queues=2`);
  if (net.mtu !== undefined && net.mtu > MAX_USER_MTU)
    refuse("net-user-mtu", `${what}: mtu ${net.mtu} is more than a user-mode network can have, ${MAX_USER_MTU}`);
  const ports = net.forward?.map((text) => text.slice(0, text.lastIndexOf(":"))) ?? [];
  const twice = ports.find((port, index) => ports.indexOf(port) !== index);
  if (twice !== undefined) refuse("net-forward", `${what}: ${twice} is forwarded more than once`);
}

function checkNet(checks: Checks, what: string, net: NetConfig): void {
  const { boot_vcpus: boot } = checks.config.cpus;
  if (net.vhost_user) {
    checks.needSharedRam(what);
    if (net.vhost_socket === undefined) refuse("vhost-user-socket", `${what}: vhost_user needs a socket`);
    if (net.rate_limiter_config !== undefined)
      refuse("vhost-user-rate-limit", `${what}: a vhost-user device cannot be rate-limited`);
  }
  checkUserNet(what, net);
  checks.pci(what, net);
  if (net.num_queues < 2)
    refuse("net-queues-few", `${what}: ${net.num_queues} queues, at least 2 are needed to receive and transmit`);
  if (net.fds !== undefined) {
    if (net.fds.length * 2 !== net.num_queues)
      refuse(
        "net-fds",
        `${what}: ${net.fds.length} file descriptors for ${net.num_queues} queues, there must be one for two`,
      );
    for (const fd of net.fds)
      if (fd <= LAST_STANDARD_FD) refuse("net-fd-reserved", `${what}: file descriptor ${fd} is reserved`);
  }
  const pairs = Math.floor(net.num_queues / 2);
  if (pairs > boot) refuse("net-queues", `${what}: ${pairs} pairs of queues, more than CPUs at boot: ${boot}`);
  checkQueueSize(what, net.queue_size);
  if (net.vhost_user && net.iommu)
    refuse("vhost-user-iommu", `${what}: a vhost-user device cannot be behind the IOMMU`);
  if (net.mtu !== undefined && net.mtu < MIN_MTU) refuse("net-mtu", `${what}: mtu ${net.mtu} is below ${MIN_MTU}`);
  if (!net.offload_csum && (net.offload_tso || net.offload_ufo))
    refuse("net-offload", `${what}: offload_tso and offload_ufo need offload_csum`);
  if (net.mask !== undefined && net.ip === undefined) refuse("net-mask", `${what}: mask without ip`);
  if (net.ip !== undefined && net.mask === undefined) refuse("net-ip", `${what}: ip without mask`);
  checks.id(net.id);
}

/** Rules 25 to 35. @throws ValidationError */
export function checkNets(checks: Checks): void {
  for (const [index, net] of (checks.config.net ?? []).entries())
    checkNet(checks, deviceName("--net", index, net.id), net);
}
