import { iovecTable, setIovec } from "../host/iovec.ts";
import { libc } from "../host/libc.ts";
import { Madvise, MapFlag, mmap, munmap, Prot } from "../host/mmap.ts";
import { sendIovecs } from "../host/unix-socket.ts";

/** What a connection keeps of the guest's data while its socket takes none: what the guest is told it may send ahead. */
export const BUFFER_BYTES = 65536;
/** The same once a stream flows, so that the guest need not wait for each packet's way to the host and back. */
export const LARGE_BUFFER_BYTES = 4 * BUFFER_BYTES;

/** Free buffers that keep their memory, for the next connection whose socket is slow. */
const WARM_BUFFERS = 4;

/** Buffers of one size. Only those in use, and a few more, take memory. */
export class BufferPool {
  /** Of each buffer. */
  readonly bytes: number;
  readonly #count: number;
  #reserved = 0;
  /** Address space for all buffers, from the first use on. */
  #base = 0;
  #fresh = 0;
  /** Addresses of free buffers: those at the end keep their memory. */
  readonly #free: number[] = [];

  /** @param count of buffers that may be in use at once */
  constructor(count: number, bytes: number) {
    this.#count = count;
    this.bytes = bytes;
  }

  /** Sets a buffer aside, to be taken whenever it is needed. @returns whether there is one */
  reserve(): boolean {
    if (this.#reserved === this.#count) return false;
    this.#reserved++;
    return true;
  }

  /** A buffer that was set aside is not needed any more. */
  cancel(): void {
    this.#reserved--;
  }

  /** The address of a buffer. @throws SysError */
  take(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#base === 0)
      this.#base = mmap({
        size: this.#count * this.bytes,
        prot: Prot.READ | Prot.WRITE,
        flags: MapFlag.PRIVATE | MapFlag.ANONYMOUS | MapFlag.NORESERVE,
      });
    return this.#base + this.#fresh++ * this.bytes;
  }

  /** Takes a buffer back. */
  give(address: number): void {
    const cold = this.#free.length - WARM_BUFFERS;
    if (cold >= 0) libc.madvise(this.#free[cold] ?? 0, this.bytes, Madvise.DONTNEED);
    this.#free.push(address);
  }

  /** Gives all memory back to the host. No buffer may be in use. */
  close(): void {
    if (this.#base !== 0) munmap(this.#base, this.#count * this.bytes);
    this.#base = 0;
  }
}

/** Bytes of the guest that a socket has not taken yet: a ring that is there only while it holds something. */
export class StreamBuffer {
  #pool: BufferPool;
  #address = 0;
  #start = 0;
  #length = 0;

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** The most that it can hold. */
  get capacity(): number {
    return this.#pool.bytes;
  }

  /** Takes its memory from another pool from now on. @throws RangeError while it holds something */
  use(pool: BufferPool): void {
    if (this.#length > 0) throw new RangeError("a vsock buffer changes its size while it is in use");
    this.#pool = pool;
  }

  get length(): number {
    return this.#length;
  }

  /**
   * Appends what the first `count` elements of the thread's iovec table describe.
   * @throws RangeError when that is more than there is room for
   */
  append(count: number): void {
    if (this.#address === 0) this.#address = this.#pool.take();
    const { u32 } = iovecTable();
    for (let i = 0; i < count; i++) {
      const from = (u32[4 * i] ?? 0) + (u32[4 * i + 1] ?? 0) * 0x1_0000_0000;
      this.#put(from, u32[4 * i + 2] ?? 0);
    }
  }

  /** Sends what the socket takes. @returns how much, or a negated errno */
  flush(fd: number): number {
    const table = iovecTable();
    const first = Math.min(this.#length, this.capacity - this.#start);
    setIovec(table.u32, 0, this.#address + this.#start, first);
    setIovec(table.u32, 1, this.#address, this.#length - first);
    const sent = sendIovecs(fd, table.address, first < this.#length ? 2 : 1);
    if (sent > 0) {
      this.#start = (this.#start + sent) % this.capacity;
      this.#length -= sent;
      if (this.#length === 0) this.clear();
    }
    return sent;
  }

  /** Drops what is left. */
  clear(): void {
    if (this.#address !== 0) this.#pool.give(this.#address);
    this.#address = 0;
    this.#start = 0;
    this.#length = 0;
  }

  #put(from: number, length: number): void {
    const { capacity } = this;
    if (this.#length + length > capacity) throw new RangeError(`${length} bytes more in a full vsock buffer`);
    const end = (this.#start + this.#length) % capacity;
    const first = Math.min(length, capacity - end);
    libc.memmove(this.#address + end, from, first);
    libc.memmove(this.#address, from + first, length - first);
    this.#length += length;
  }
}
