import { struct, u16, u32, u64, type ViewOf } from "../host/struct.ts";

/** struct virtio_vsock_hdr (VIRTIO 1.3, 5.10.6). */
export const vsockHeader = struct(
  "virtio_vsock_hdr",
  {
    src_cid: u64,
    dst_cid: u64,
    src_port: u32,
    dst_port: u32,
    len: u32,
    type: u16,
    op: u16,
    flags: u32,
    buf_alloc: u32,
    fwd_cnt: u32,
  },
  "packed",
);
export type VsockHeader = ViewOf<typeof vsockHeader>;

/** enum virtio_vsock_type (5.10.6). */
export const VsockType = { STREAM: 1 } as const;

/** enum virtio_vsock_op (5.10.6). */
export const VsockOp = {
  REQUEST: 1,
  RESPONSE: 2,
  RST: 3,
  SHUTDOWN: 4,
  RW: 5,
  CREDIT_UPDATE: 6,
  CREDIT_REQUEST: 7,
} as const;
export type VsockOp = (typeof VsockOp)[keyof typeof VsockOp];

/** Flags of SHUTDOWN (5.10.6.5): the sender of the packet will not receive, or not send, any more. */
export const Shutdown = { RECEIVE: 1, SEND: 2, BOTH: 3 } as const;

/** The host's context id (5.10.4). */
export const HOST_CID = 2;

/** The most bytes of a packet's payload. */
export const MAX_PAYLOAD = 65536;

/** The payload of a packet from the guest, where it lies in guest memory. */
export interface Payload {
  /** How much there is, whatever the header says. */
  readonly bytes: number;
  /**
   * Describes bytes from `skip` on, at most `limit`, as an iovec array.
   * @param table the array as 32-bit words, in mapped memory
   * @returns how many elements were written
   */
  iovecs(table: Uint32Array, skip: number, limit: number): number;
}

/** `GuestReceiver.fill`: the driver has no buffer. */
export const NO_BUFFER = -0x1000;

/** The way to the guest: the driver's receive buffers. */
export interface GuestReceiver {
  /** Sends a packet without payload. @returns whether there was a buffer for it */
  send(header: VsockHeader): boolean;
  /**
   * Reads from a socket straight into the driver's buffers, as packets with this header, whose `len` is set here.
   * @param limit read at most this many bytes, at least 1
   * @returns how many were read, 0 at the end of the stream, `NO_BUFFER`, or a negated errno
   */
  fill(header: VsockHeader, fd: number, limit: number): number;
}
