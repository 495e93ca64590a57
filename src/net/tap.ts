import { Errno, SysError } from "../host/errno.ts";
import { check, errno, libc } from "../host/libc.ts";
import { cString, scratch } from "../host/scratch.ts";
import { type IpBytes, prefixLength } from "./ip-address.ts";
import { macText } from "./mac-address.ts";
import { NetworkInterface } from "./network-interface.ts";
import { IFNAMSIZ, ifreqFlags, TunFlag, TunRequest, VNET_HDR_BYTES } from "./tap-abi.ts";
import { forgetReader } from "./tap-carrier.ts";
import { TapError } from "./tap-error.ts";

/** The TAP interface that a user asked for, by name or to be created. */
export interface TapRequest {
  /** A new `vmtap<n>` when undefined. */
  readonly name: string | undefined;
  /** Queues, each with a descriptor of its own. */
  readonly queues: number;
  /** The host's address and network mask, of equal length; for interfaces that are created only. */
  readonly address: { readonly ip: IpBytes; readonly mask: IpBytes } | undefined;
  readonly hostMac: Uint8Array | undefined;
  readonly mtu: number | undefined;
}

/** An open TAP interface. */
export interface OpenTap {
  /** One descriptor a queue, non-blocking, owned by the caller. */
  readonly fds: readonly number[];
  /** What the guest should know; undefined where it cannot be read, as from another network namespace. */
  readonly mtu: number | undefined;
  /** What the user should know. */
  readonly warnings: readonly string[];
}

const DEVICE = "/dev/net/tun";
const NEW_NAME = "vmtap%d";

const O_RDWR = 0o2;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
const F_DUPFD_CLOEXEC = 1030;
const F_GETFL = 3;
const F_SETFL = 4;
/** Descriptors of our own stay clear of standard input, output and error. */
const FIRST_OWN_FD = 3;

/**
 * Opens or creates a TAP interface and configures it as far as it is not so already, so that an interface that is there and
 * fits needs no privilege.
 * @throws TapError; nothing is left open then
 */
export function openTap(request: TapRequest): OpenTap {
  const { name, queues } = request;
  if (name !== undefined) checkName(name);
  if (request.address !== undefined) checkAddress(name, request.address);
  const existed = name !== undefined && new NetworkInterface(name).exists;
  const fds: number[] = [];
  try {
    let actual = name ?? NEW_NAME;
    for (let queue = 0; queue < queues; queue++) {
      const fd = openDevice();
      fds.push(fd);
      actual = attach(fd, actual, queues > 1, existed);
      setHeaderSize(fd, actual);
      forgetReader(fd);
    }
    const warnings = configure(new NetworkInterface(actual), request, existed);
    return { fds, mtu: readMtu(actual), warnings };
  } catch (error) {
    for (const fd of fds) libc.close(fd);
    throw error;
  }
}

/**
 * Makes TAP descriptors that somebody else opened ready, macvtap ones too. The originals stay the caller's.
 * @throws TapError
 */
export function adoptTap(originals: readonly number[], mtu: number | undefined): OpenTap {
  const fds: number[] = [];
  try {
    let name = "";
    for (const original of originals) {
      const fd = duplicate(original);
      fds.push(fd);
      const inspected = inspect(fd, original);
      if (name === "") name = inspected;
      setHeaderSize(fd, `file descriptor ${original}`);
      // What came in for somebody else may be more than the guest's driver understands.
      forgetReader(fd);
    }
    if (mtu !== undefined) setMtu(new NetworkInterface(name), mtu);
    return { fds, mtu: readMtu(name), warnings: [] };
  } catch (error) {
    for (const fd of fds) libc.close(fd);
    throw error;
  }
}

function checkName(name: string): void {
  const bytes = new TextEncoder().encode(name).length;
  if (bytes >= IFNAMSIZ)
    throw new TapError(`TAP name '${name}' has ${bytes} bytes: give --net a tap of at most ${IFNAMSIZ - 1}`);
  if (name === "" || name === "." || name === ".." || /[\s/:%\0]/.test(name))
    throw new TapError(`'${name}' cannot be the name of an interface: give --net another tap`);
}

function checkAddress(name: string | undefined, { ip, mask }: NonNullable<TapRequest["address"]>): void {
  const tap = `TAP interface ${name ?? "to be created"}`;
  if (ip.length !== mask.length) throw new TapError(`${tap}: ip and mask are not of the same kind`);
  if (prefixLength(mask) === undefined)
    throw new TapError(`${tap}: the mask is not a run of ones: give --net a mask such as 255.255.255.0`);
}

/** @throws TapError */
function openDevice(): number {
  const fd = libc.open(cString(DEVICE), O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
  if (fd >= 0) return fd;
  const cause = new SysError(errno(), `open ${DEVICE}`);
  const missing = cause.errno === Errno.ENOENT || cause.errno === Errno.ENODEV || cause.errno === Errno.ENXIO;
  throw new TapError(
    missing
      ? "this host has no TAP interfaces: load the kernel module tun"
      : `cannot use TAP interfaces: give this process access to ${DEVICE}`,
    { cause },
  );
}

/** Makes a descriptor a queue of the interface. @returns the interface's name, where `name` is a pattern @throws TapError */
function attach(fd: number, name: string, multiQueue: boolean, existed: boolean): string {
  if (multiQueue && (features(fd) & TunFlag.MULTI_QUEUE) === 0)
    throw new TapError("this kernel has no TAP interfaces with several queues: give --net num_queues=2");
  const flags = TunFlag.TAP | TunFlag.NO_PI | TunFlag.VNET_HDR | (multiQueue ? TunFlag.MULTI_QUEUE : 0);
  const error = setInterface(fd, name, flags);
  if (error !== 0) throw attachError(name, multiQueue, existed, new SysError(error, `TUNSETIFF of ${name}`));
  return nameIn(ifreqFlags.at(scratch()).ifr_name);
}

function attachError(name: string, multiQueue: boolean, existed: boolean, cause: SysError): TapError {
  const advice = (): string => {
    switch (cause.errno) {
      case Errno.EPERM:
      case Errno.EACCES:
        return existed
          ? `TAP interface ${name} belongs to another user: give it to this one (ip tuntap add dev ${name} mode tap user ...)`
          : `TAP interface ${name.replace("%d", "<n>")} does not exist, and creating one needs CAP_NET_ADMIN: create it first (ip tuntap add dev ... mode tap user ...) or run with that capability`;
      case Errno.EBUSY:
        return `TAP interface ${name} is in use: end the program that has it open, or give --net another tap`;
      case Errno.E2BIG:
        return `TAP interface ${name} has no queue left: give --net fewer num_queues`;
      case Errno.EINVAL:
        if (existed && isOtherKind(name, multiQueue))
          return multiQueue
            ? `TAP interface ${name} has one queue: create it with several (ip tuntap add ... multi_queue), or give --net num_queues=2`
            : `TAP interface ${name} has several queues: create it without multi_queue, or give --net num_queues=4 or more`;
        return `${name} is no TAP interface: give --net another tap`;
      default:
        return `cannot open TAP interface ${name}`;
    }
  };
  return new TapError(advice(), { cause });
}

/** Whether opening works with one queue instead of several, or the other way round. */
function isOtherKind(name: string, multiQueue: boolean): boolean {
  const fd = openDevice();
  try {
    const flags = TunFlag.TAP | TunFlag.NO_PI | TunFlag.VNET_HDR | (multiQueue ? 0 : TunFlag.MULTI_QUEUE);
    return [0, Errno.EBUSY, Errno.EPERM].some((error) => error === setInterface(fd, name, flags));
  } finally {
    libc.close(fd);
  }
}

function duplicate(original: number): number {
  const fd = libc.fcntl(original, F_DUPFD_CLOEXEC, FIRST_OWN_FD);
  if (fd < 0)
    throw new TapError(`file descriptor ${original} is not open: pass an open TAP interface to this process`, {
      cause: new SysError(errno(), `dup of fd ${original}`),
    });
  const flags = check(libc.fcntl(fd, F_GETFL, 0), `read the flags of fd ${original}`);
  check(libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK), `make fd ${original} non-blocking`);
  return fd;
}

/** Makes sure that a descriptor is a TAP whose frames have headers. @returns the interface's name @throws TapError */
function inspect(fd: number, original: number): string {
  const wanted = TunFlag.TAP | TunFlag.NO_PI | TunFlag.VNET_HDR;
  const request = ifreqFlags.at(scratch());
  if (libc.ioctl(fd, TunRequest.GET_IFF, scratch().address) < 0)
    throw new TapError(`file descriptor ${original} is no TAP interface: pass one that is open`, {
      cause: new SysError(errno(), `TUNGETIFF of fd ${original}`),
    });
  const name = nameIn(request.ifr_name);
  if ((request.ifr_flags & TunFlag.TAP) === 0)
    throw new TapError(`file descriptor ${original} is a TUN interface, ${name}: pass a TAP interface`);
  // A macvtap takes the flags at any time, a TAP only when it is made.
  const error = setInterface(fd, name, wanted | (request.ifr_flags & TunFlag.MULTI_QUEUE));
  if (error !== 0 && error !== Errno.EEXIST)
    throw new TapError(`cannot use file descriptor ${original} as a TAP interface`, {
      cause: new SysError(error, `TUNSETIFF of fd ${original}`),
    });
  check(libc.ioctl(fd, TunRequest.GET_IFF, scratch().address), `TUNGETIFF of fd ${original}`);
  if ((request.ifr_flags & wanted) !== wanted)
    throw new TapError(
      `file descriptor ${original} is a TAP interface, ${name}, without vnet_hdr or with pi: open it with IFF_TAP, IFF_NO_PI and IFF_VNET_HDR`,
    );
  return name;
}

function setHeaderSize(fd: number, tap: string): void {
  const block = scratch();
  block.u32[0] = VNET_HDR_BYTES;
  if (libc.ioctl(fd, TunRequest.SET_VNET_HDR_SIZE, block.address) < 0)
    throw new TapError(`${tap} takes no frame headers of ${VNET_HDR_BYTES} bytes`, {
      cause: new SysError(errno(), "TUNSETVNETHDRSZ"),
    });
}

/** Steps 4 to 7 of the sheet. @returns warnings @throws TapError */
function configure(tap: NetworkInterface, request: TapRequest, existed: boolean): string[] {
  const warnings: string[] = [];
  const { address, hostMac, mtu } = request;
  const attempt = (what: string, act: () => void): void => {
    try {
      act();
    } catch (cause) {
      if (!(cause instanceof SysError)) throw cause;
      const right = cause.errno === Errno.EPERM ? `: do so before, or run with CAP_NET_ADMIN` : "";
      throw new TapError(`cannot ${what} TAP interface ${tap.name}${right}`, { cause });
    }
  };
  if (address !== undefined && existed) warnings.push(`TAP interface ${tap.name} exists: it keeps its addresses`);
  else if (address !== undefined) attempt("give an address to", () => tap.setAddress(address.ip, address.mask));
  if (hostMac !== undefined)
    attempt(`give the MAC address ${macText(hostMac)} to`, () => {
      if (macText(tap.mac) !== macText(hostMac)) tap.setMac(hostMac);
    });
  if (mtu !== undefined) setMtu(tap, mtu);
  attempt("bring up", () => {
    if (!tap.isUp) tap.bringUp();
  });
  return warnings;
}

/** @throws TapError */
function setMtu(tap: NetworkInterface, mtu: number): void {
  try {
    if (tap.mtu !== mtu) tap.setMtu(mtu);
  } catch (cause) {
    if (!(cause instanceof SysError)) throw cause;
    const advice =
      cause.errno === Errno.EPERM
        ? "set it before, or run with CAP_NET_ADMIN"
        : "give --net an mtu that the interface allows";
    throw new TapError(`TAP interface ${tap.name} does not take an MTU of ${mtu}: ${advice}`, { cause });
  }
}

function readMtu(name: string): number | undefined {
  try {
    return new NetworkInterface(name).mtu;
  } catch (error) {
    if (error instanceof SysError) return undefined;
    throw error;
  }
}

/** @returns 0 or an errno; on success the scratch block holds the interface's actual name */
function setInterface(fd: number, name: string, flags: number): number {
  const block = scratch();
  const request = ifreqFlags.at(block);
  request.ifr_name.fill(0);
  new TextEncoder().encodeInto(name, request.ifr_name);
  request.ifr_flags = flags;
  request.rest.fill(0);
  return libc.ioctl(fd, TunRequest.SET_IFF, block.address) < 0 ? errno() : 0;
}

function features(fd: number): number {
  check(libc.ioctl(fd, TunRequest.GET_FEATURES, scratch().address), "TUNGETFEATURES");
  return scratch().u32[0] ?? 0;
}

function nameIn(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.subarray(0, end < 0 ? bytes.length : end));
}
