import { bytes, struct, u8, u16, u32 } from "../../../host/struct.ts";

/** Feature bits of a network device (VIRTIO 1.3, 5.1.3). */
export const NetFeature = {
  CSUM: 0,
  GUEST_CSUM: 1,
  CTRL_GUEST_OFFLOADS: 2,
  MTU: 3,
  MAC: 5,
  GUEST_TSO4: 7,
  GUEST_TSO6: 8,
  GUEST_ECN: 9,
  GUEST_UFO: 10,
  HOST_TSO4: 11,
  HOST_TSO6: 12,
  HOST_ECN: 13,
  HOST_UFO: 14,
  STATUS: 16,
  CTRL_VQ: 17,
  GUEST_ANNOUNCE: 21,
  MQ: 22,
} as const;

/** struct virtio_net_config as far as the device has it (5.1.4). */
export const netConfig = struct(
  "virtio_net_config",
  {
    mac: bytes(6),
    status: u16,
    max_virtqueue_pairs: u16,
    mtu: u16,
    speed: u32,
    duplex: u8,
  },
  "packed",
);

/** status (5.1.4). */
export const NetStatus = { LINK_UP: 1, ANNOUNCE: 2 } as const;

/** struct virtio_net_hdr_v1, which precedes every frame (5.1.6): its length, and where its num_buffers lies. */
export const NET_HEADER_BYTES = 12;
export const NUM_BUFFERS_OFFSET = 10;

/** Classes and commands of the control queue (5.1.6.5). */
export const ControlClass = { RX: 0, MAC: 1, VLAN: 2, ANNOUNCE: 3, MQ: 4, GUEST_OFFLOADS: 5 } as const;
export const MQ_VQ_PAIRS_SET = 0;
export const GUEST_OFFLOADS_SET = 0;
export const ANNOUNCE_ACK = 0;
/** The highest command of class RX: nobcast; and of class VLAN: del. */
export const LAST_RX_COMMAND = 5;
export const LAST_VLAN_COMMAND = 1;
/** Answers to control commands. */
export const ControlAck = { OK: 0, ERR: 1 } as const;
/** Bytes of a command's class and number. */
export const CONTROL_HEADER_BYTES = 2;
