import { Errno, SysError } from "./errno.ts";
import { iovec } from "./iovec.ts";
import { check, errno, libc } from "./libc.ts";
import type { MemoryBlock } from "./memory-block.ts";
import { mapForThread } from "./mmap.ts";
import { scratch } from "./scratch.ts";
import { bytes, i32, struct, u16, u32, u64, type ViewOf } from "./struct.ts";

const PATH_BYTES = 108;
/** The longest path of a socket: sun_path less its NUL. */
export const MAX_SOCKET_PATH_BYTES = PATH_BYTES - 1;
/** struct sockaddr_un (sys/un.h). */
export const sockaddrUn = struct("sockaddr_un", { sun_family: u16, sun_path: bytes(PATH_BYTES) });
/** struct msghdr (bits/socket.h). */
export const msghdr = struct("msghdr", {
  msg_name: u64,
  msg_namelen: u32,
  msg_iov: u64,
  msg_iovlen: u64,
  msg_control: u64,
  msg_controllen: u64,
  msg_flags: i32,
});
/** struct cmsghdr (bits/socket.h); the data follows. */
export const cmsghdr = struct("cmsghdr", { cmsg_len: u64, cmsg_level: i32, cmsg_type: i32 });

/** Constants of sys/socket.h. */
export const Socket = {
  AF_UNIX: 1,
  SOCK_STREAM: 1,
  SOCK_SEQPACKET: 5,
  SOCK_CLOEXEC: 0o2000000,
  SOCK_NONBLOCK: 0o4000,
  SOL_SOCKET: 1,
  SO_ACCEPTCONN: 30,
  SCM_RIGHTS: 1,
  SHUT_RD: 0,
  SHUT_WR: 1,
  MSG_PEEK: 0x2,
  MSG_CTRUNC: 0x8,
  MSG_DONTWAIT: 0x40,
  MSG_NOSIGNAL: 0x4000,
  MSG_CMSG_CLOEXEC: 0x4000_0000,
} as const;

/** The most descriptors of one message (net/scm.h, SCM_MAX_FD). */
export const MAX_MESSAGE_FDS = 253;
/** Bytes that one system call moves. */
const BUFFER_BYTES = 1 << 16;
const CONTROL_BYTES = 1088;

/** One message at a time in mapped memory: the head, where its parts are, and the parts. */
class MessageMemory {
  readonly data = mapForThread(BUFFER_BYTES);
  readonly control: MemoryBlock;
  readonly address: number;
  readonly #head;
  readonly #iov;

  constructor() {
    const block = mapForThread(4096);
    this.address = block.address;
    this.control = block.sub(256, CONTROL_BYTES);
    this.#head = msghdr.at(block);
    this.#iov = iovec.at(block, 128);
    this.#head.msg_iov = block.address + 128;
    this.#head.msg_iovlen = 1;
    this.#iov.iov_base = this.data.address;
  }

  /** Before a call: how much of each part there is. */
  set(dataBytes: number, controlBytes: number): void {
    this.#iov.iov_len = dataBytes;
    this.#head.msg_control = controlBytes === 0 ? 0 : this.control.address;
    this.#head.msg_controllen = controlBytes;
    this.#head.msg_flags = 0;
  }

  get controlLength(): number {
    return this.#head.msg_controllen;
  }

  get flags(): number {
    return this.#head.msg_flags;
  }
}

let messageMemory: MessageMemory | undefined;

function memory(): MessageMemory {
  messageMemory ??= new MessageMemory();
  return messageMemory;
}

/** What one read of a socket brought. */
export interface Received {
  /** Valid until the next call; empty when the other side has ended its sending. */
  readonly bytes: Uint8Array;
  /** The caller's to close. */
  readonly fds: readonly number[];
  /** The kernel had more descriptors than this process may open: those are lost. */
  readonly fdsLost: boolean;
}

const NO_FDS: readonly number[] = [];

function receivedFds({ control, controlLength }: MessageMemory): readonly number[] {
  const fds: number[] = [];
  for (let at = 0; at + cmsghdr.size <= controlLength; ) {
    const head = cmsghdr.at(control, at);
    const { cmsg_len: length } = head;
    if (length < cmsghdr.size) break;
    if (head.cmsg_level === Socket.SOL_SOCKET && head.cmsg_type === Socket.SCM_RIGHTS)
      for (let fd = at + cmsghdr.size; fd + 4 <= at + length; fd += 4) fds.push(control.view.getInt32(fd, true));
    at += Math.ceil(length / 8) * 8;
  }
  return fds;
}

/**
 * Reads what a stream socket has or one message, up to 64 KiB, with the descriptors that came along; those are close-on-exec.
 * @returns undefined when there is nothing to read without waiting and `wait` is false
 * @throws SysError
 */
export function receive(fd: number, wait = false): Received | undefined {
  const message = memory();
  const flags = Socket.MSG_CMSG_CLOEXEC | (wait ? 0 : Socket.MSG_DONTWAIT);
  for (;;) {
    message.set(BUFFER_BYTES, CONTROL_BYTES);
    const count = libc.recvmsg(fd, message.address, flags);
    if (count >= 0) {
      const fds = message.controlLength === 0 ? NO_FDS : receivedFds(message);
      return {
        bytes: message.data.u8.subarray(0, count),
        fds,
        fdsLost: (message.flags & Socket.MSG_CTRUNC) !== 0,
      };
    }
    const error = errno();
    if (error === Errno.EAGAIN) return undefined;
    if (error !== Errno.EINTR) throw new SysError(error, `receive from socket ${fd}`);
  }
}

/**
 * Sends bytes, up to 64 KiB, and descriptors with the first of them.
 * @param fds at most MAX_MESSAGE_FDS
 * @returns how many bytes went; 0 when none can without waiting and `wait` is false
 * @throws SysError
 */
export function send(fd: number, data: Uint8Array, fds: readonly number[] = NO_FDS, wait = false): number {
  if (fds.length > MAX_MESSAGE_FDS) throw new RangeError(`${fds.length} descriptors, at most ${MAX_MESSAGE_FDS}`);
  const message = memory();
  const size = Math.min(data.length, BUFFER_BYTES);
  message.data.u8.set(size === data.length ? data : data.subarray(0, size));
  const flags = Socket.MSG_NOSIGNAL | (wait ? 0 : Socket.MSG_DONTWAIT);
  for (;;) {
    message.set(size, fds.length === 0 ? 0 : putFds(message.control, fds));
    const count = libc.sendmsg(fd, message.address, flags);
    if (count >= 0) return count;
    const error = errno();
    if (error === Errno.EAGAIN) return 0;
    if (error !== Errno.EINTR) throw new SysError(error, `send to socket ${fd}`);
  }
}

/** @returns bytes of control data */
function putFds(control: MemoryBlock, fds: readonly number[]): number {
  const head = cmsghdr.at(control);
  const length = cmsghdr.size + fds.length * 4;
  head.cmsg_len = length;
  head.cmsg_level = Socket.SOL_SOCKET;
  head.cmsg_type = Socket.SCM_RIGHTS;
  for (const [index, fd] of fds.entries()) control.view.setInt32(cmsghdr.size + index * 4, fd, true);
  return Math.ceil(length / 8) * 8;
}

const encoder = new TextEncoder();

/** Calls `use` with the address of a socket. @throws RangeError when the path is too long for one */
function withAddress<T>(path: string, use: (address: number, length: number) => T): T {
  const name = encoder.encode(path);
  if (name.length === 0 || name.length >= PATH_BYTES || name.includes(0))
    throw new RangeError(`'${path}' cannot be the path of a socket: 1 to ${PATH_BYTES - 1} bytes are possible`);
  const { data } = memory();
  const address = sockaddrUn.at(data);
  address.sun_family = Socket.AF_UNIX;
  address.sun_path.fill(0);
  address.sun_path.set(name);
  return use(data.address, sockaddrUn.offsets.sun_path + name.length + 1);
}

const F_SETFL = 4;

/** No read and no write of this socket waits any more. @throws SysError */
export function makeNonBlocking(fd: number): void {
  check(libc.fcntl(fd, F_SETFL, Socket.SOCK_NONBLOCK), "make a socket non-blocking");
}

function withSocket(flags: number, use: (fd: number) => void): number {
  const fd = check(libc.socket(Socket.AF_UNIX, Socket.SOCK_STREAM | Socket.SOCK_CLOEXEC | flags, 0), "make a socket");
  try {
    use(fd);
    return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
}

/**
 * A non-blocking socket that listens at a path, where nothing may be.
 * @param backlog connections that may wait to be accepted
 * @throws SysError, RangeError
 */
export function listenAt(path: string, backlog: number): number {
  return withSocket(Socket.SOCK_NONBLOCK, (fd) => {
    check(
      withAddress(path, (address, length) => libc.bind(fd, address, length)),
      `bind a socket to ${path}`,
    );
    check(libc.listen(fd, backlog), `listen at ${path}`);
  });
}

/** A blocking socket connected to a path. @throws SysError, RangeError */
export function connectTo(path: string): number {
  return withSocket(0, (fd) =>
    check(
      withAddress(path, (address, length) => libc.connect(fd, address, length)),
      `connect to ${path}`,
    ),
  );
}

/** Two connected blocking sockets, of a stream or of messages that stay whole. @throws SysError */
export function socketPair(kind: "stream" | "messages" = "stream"): readonly [number, number] {
  const { view, address } = scratch();
  const type = kind === "stream" ? Socket.SOCK_STREAM : Socket.SOCK_SEQPACKET;
  check(libc.socketpair(Socket.AF_UNIX, type | Socket.SOCK_CLOEXEC, 0, address), "make a pair of sockets");
  return [view.getInt32(0, true), view.getInt32(4, true)];
}

/**
 * A non-blocking socket connected to a path, or a negated errno: that nobody listens there may be no error to the caller.
 * EAGAIN says that somebody does, and that too many wait already.
 * @throws SysError when there can be no socket; RangeError
 */
export function tryConnect(path: string): number {
  const fd = check(
    libc.socket(Socket.AF_UNIX, Socket.SOCK_STREAM | Socket.SOCK_CLOEXEC | Socket.SOCK_NONBLOCK, 0),
    "make a socket",
  );
  try {
    if (withAddress(path, (address, length) => libc.connect(fd, address, length)) === 0) return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  const failure = errno();
  libc.close(fd);
  return -failure;
}

let vector: { readonly address: number; readonly head: ViewOf<typeof msghdr> } | undefined;

/**
 * Sends what an iovec array describes, as far as the socket takes it without waiting.
 * @returns bytes, or a negated errno
 */
export function sendIovecs(fd: number, iovecs: number, count: number): number {
  if (vector === undefined) {
    const block = mapForThread(msghdr.size);
    vector = { address: block.address, head: msghdr.at(block) };
  }
  vector.head.msg_iov = iovecs;
  vector.head.msg_iovlen = count;
  const sent = libc.sendmsg(fd, vector.address, Socket.MSG_NOSIGNAL | Socket.MSG_DONTWAIT);
  return sent < 0 ? -errno() : sent;
}

/** A waiting connection, non-blocking; undefined when there is none. @throws SysError */
export function accept(listener: number): number | undefined {
  for (;;) {
    const fd = libc.accept4(listener, 0, 0, Socket.SOCK_CLOEXEC | Socket.SOCK_NONBLOCK);
    if (fd >= 0) return fd;
    const error = errno();
    if (error === Errno.EAGAIN) return undefined;
    // A client that gave up while it waited is no matter of ours.
    if (error !== Errno.EINTR && error !== ECONNABORTED) throw new SysError(error, `accept on socket ${listener}`);
  }
}

const ECONNABORTED = 103;

/** Whether connections can be accepted on a descriptor; false for what is no socket. */
export function isListening(fd: number): boolean {
  const { view, address } = scratch();
  view.setInt32(0, 0, true);
  view.setUint32(8, 4, true);
  const result = libc.getsockopt(fd, Socket.SOL_SOCKET, Socket.SO_ACCEPTCONN, address, address + 8);
  return result === 0 && view.getInt32(0, true) !== 0;
}

/** Ends sending, so that the other side reads the end. A connection that is gone already is no error. */
export function endSending(fd: number): void {
  libc.shutdown(fd, Socket.SHUT_WR);
}

/** Ends receiving, so that the other side cannot send any more. A connection that is gone already is no error. */
export function endReceiving(fd: number): void {
  libc.shutdown(fd, Socket.SHUT_RD);
}
