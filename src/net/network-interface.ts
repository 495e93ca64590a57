import { SysError } from "../host/errno.ts";
import { check, errno, libc } from "../host/libc.ts";
import { scratch } from "../host/scratch.ts";
import { Socket } from "../host/unix-socket.ts";
import { IPV4_BYTES, type IpBytes, prefixLength } from "./ip-address.ts";
import {
  AF_INET,
  AF_INET6,
  ARPHRD_ETHER,
  IFF_UP,
  InterfaceRequest,
  ifreqAddress,
  ifreqFlags,
  ifreqNumber,
  in6Ifreq,
  MAC_BYTES,
} from "./tap-abi.ts";

const SOCK_DGRAM = 2;

/**
 * A network interface of this network namespace, by name. Each method is one or two requests to the kernel; changing
 * anything needs CAP_NET_ADMIN.
 */
export class NetworkInterface {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** Whether there is an interface of that name. */
  get exists(): boolean {
    return withSocket(AF_INET, (socket) => this.#request(socket, InterfaceRequest.GET_INDEX) === 0);
  }

  /** Largest frame without its Ethernet header, in bytes. @throws SysError */
  get mtu(): number {
    this.#must(InterfaceRequest.GET_MTU, "read the MTU of");
    return ifreqNumber.at(scratch()).ifr_ifindex;
  }

  /** @throws SysError */
  setMtu(mtu: number): void {
    ifreqNumber.at(scratch()).ifr_ifindex = mtu;
    this.#must(InterfaceRequest.SET_MTU, `set an MTU of ${mtu} on`);
  }

  /** @throws SysError */
  get mac(): Uint8Array {
    this.#must(InterfaceRequest.GET_MAC, "read the MAC address of");
    return ifreqAddress.at(scratch()).sa_data.slice(0, MAC_BYTES);
  }

  /** @throws SysError */
  setMac(mac: Uint8Array): void {
    const address = ifreqAddress.at(scratch());
    address.sa_family = ARPHRD_ETHER;
    address.sa_data.fill(0);
    address.sa_data.set(mac);
    this.#must(InterfaceRequest.SET_MAC, "set the MAC address of");
  }

  /** @throws SysError */
  get isUp(): boolean {
    this.#must(InterfaceRequest.GET_FLAGS, "read the state of");
    return (ifreqFlags.at(scratch()).ifr_flags & IFF_UP) !== 0;
  }

  /** @throws SysError */
  bringUp(): void {
    this.#must(InterfaceRequest.GET_FLAGS, "read the state of");
    const request = ifreqFlags.at(scratch());
    request.ifr_flags |= IFF_UP;
    this.#must(InterfaceRequest.SET_FLAGS, "bring up");
  }

  /** @param mask of as many bytes as `ip`; for IPv6 a run of ones. @throws SysError */
  setAddress(ip: IpBytes, mask: IpBytes): void {
    if (ip.length === IPV4_BYTES) {
      this.#setIpv4(InterfaceRequest.SET_ADDRESS, ip);
      this.#setIpv4(InterfaceRequest.SET_NETMASK, mask);
      return;
    }
    this.#must(InterfaceRequest.GET_INDEX, "find");
    const index = ifreqNumber.at(scratch()).ifr_ifindex;
    const request = in6Ifreq.at(scratch());
    request.ifr6_addr.set(ip);
    request.ifr6_prefixlen = prefixLength(mask) ?? 0;
    request.ifr6_ifindex = index;
    withSocket(AF_INET6, (socket) =>
      check(
        libc.ioctl(socket, InterfaceRequest.SET_ADDRESS, scratch().address),
        `give an IPv6 address to ${this.name}`,
      ),
    );
  }

  #setIpv4(request: number, ip: IpBytes): void {
    const address = ifreqAddress.at(scratch());
    address.sa_family = AF_INET;
    // struct sockaddr_in: port, address.
    address.sa_data.fill(0);
    address.sa_data.set(ip, 2);
    this.#must(request, "give an IPv4 address to");
  }

  #must(request: number, what: string): void {
    const error = withSocket(AF_INET, (socket) => this.#request(socket, request));
    if (error !== 0) throw new SysError(error, `${what} ${this.name}`);
  }

  /** Sends what lies in the scratch block, with the name put in. @returns 0 or an errno */
  #request(socket: number, request: number): number {
    const { ifr_name } = ifreqFlags.at(scratch());
    ifr_name.fill(0);
    new TextEncoder().encodeInto(this.name, ifr_name);
    return libc.ioctl(socket, request, scratch().address) < 0 ? errno() : 0;
  }
}

/** Lends a socket of an address family, which is what requests about interfaces go to. @throws SysError */
function withSocket<T>(family: number, use: (socket: number) => T): T {
  const socket = check(libc.socket(family, SOCK_DGRAM | Socket.SOCK_CLOEXEC, 0), "open a socket");
  try {
    return use(socket);
  } finally {
    libc.close(socket);
  }
}
