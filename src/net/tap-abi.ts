import { _IOR, _IOW } from "../host/ioctl.ts";
import { bytes, i32, struct, u16, u32 } from "../host/struct.ts";

/** Longest name of an interface, with its NUL (linux/if.h, IFNAMSIZ). */
export const IFNAMSIZ = 16;
/** Bytes of a MAC address (linux/if_ether.h, ETH_ALEN). */
export const MAC_BYTES = 6;

/** struct ifreq (linux/if.h) with the member of its union that a request uses; the union has 24 bytes. */
const UNION_BYTES = 24;
const name = bytes(IFNAMSIZ);
export const ifreqFlags = struct("ifreq", { ifr_name: name, ifr_flags: u16, rest: bytes(UNION_BYTES - 2) });
export const ifreqNumber = struct("ifreq", { ifr_name: name, ifr_ifindex: i32, rest: bytes(UNION_BYTES - 4) });
export const ifreqAddress = struct("ifreq", {
  ifr_name: name,
  sa_family: u16,
  sa_data: bytes(14),
  rest: bytes(UNION_BYTES - 16),
});
/** struct in6_ifreq (linux/ipv6.h). */
export const in6Ifreq = struct("in6_ifreq", { ifr6_addr: bytes(16), ifr6_prefixlen: u32, ifr6_ifindex: i32 });

/** Bytes of struct virtio_net_hdr_v1, which precedes each frame (linux/virtio_net.h). */
export const VNET_HDR_BYTES = 12;

/** Flags of TUNSETIFF (linux/if_tun.h). */
export const TunFlag = {
  TAP: 0x0002,
  NO_PI: 0x1000,
  VNET_HDR: 0x4000,
  MULTI_QUEUE: 0x0100,
  ATTACH_QUEUE: 0x0200,
  DETACH_QUEUE: 0x0400,
} as const;

/** What a TAP may put into a frame's header for its reader to finish: TUNSETOFFLOAD (linux/if_tun.h, TUN_F_*). */
export const TunOffload = { CSUM: 0x01, TSO4: 0x02, TSO6: 0x04, TSO_ECN: 0x08, UFO: 0x10 } as const;

/** Requests to a TAP's descriptor (linux/if_tun.h). */
const TUN = 0x54;
export const TunRequest = {
  GET_FEATURES: _IOR(TUN, 207, u32.size),
  SET_IFF: _IOW(TUN, 202, i32.size),
  SET_OFFLOAD: _IOW(TUN, 208, u32.size),
  GET_IFF: _IOR(TUN, 210, u32.size),
  SET_VNET_HDR_SIZE: _IOW(TUN, 216, i32.size),
  SET_QUEUE: _IOW(TUN, 217, i32.size),
} as const;

/** Requests about an interface, to any socket of its family (linux/sockios.h). */
export const InterfaceRequest = {
  GET_FLAGS: 0x8913,
  SET_FLAGS: 0x8914,
  SET_ADDRESS: 0x8916,
  SET_NETMASK: 0x891c,
  GET_MTU: 0x8921,
  SET_MTU: 0x8922,
  SET_MAC: 0x8924,
  GET_MAC: 0x8927,
  GET_INDEX: 0x8933,
} as const;

/** Flags of an interface (linux/if.h). */
export const IFF_UP = 1;
/** Families (bits/socket.h, linux/if_arp.h). */
export const AF_INET = 2;
export const AF_INET6 = 10;
export const ARPHRD_ETHER = 1;
