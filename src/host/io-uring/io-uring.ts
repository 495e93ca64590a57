import { Errno, SysError } from "../errno.ts";
import { check, errno, libc } from "../libc.ts";
import { MemoryBlock } from "../memory-block.ts";
import { MapFlag, mapAnonymous, mmap, munmap, Prot } from "../mmap.ts";
import { Sys } from "../syscall-numbers.ts";
import {
  CQE_F_MORE,
  ENTER_GETEVENTS,
  FEAT_RSRC_TAGS,
  FEAT_SINGLE_MMAP,
  FSYNC_DATASYNC,
  IoUringOp,
  ioUringCqe,
  ioUringParams,
  ioUringProbe,
  ioUringProbeOp,
  ioUringRestriction,
  ioUringSqe,
  OFF_CQ_RING,
  OFF_SQ_RING,
  OFF_SQES,
  OP_SUPPORTED,
  POLL_ADD_MULTI,
  REGISTER_ENABLE_RINGS,
  REGISTER_FILES,
  REGISTER_PROBE,
  REGISTER_RESTRICTIONS,
  RESTRICTION_REGISTER_OP,
  RESTRICTION_SQE_FLAGS_ALLOWED,
  RESTRICTION_SQE_OP,
  RWF_NOWAIT,
  SETUP_CLAMP,
  SETUP_COOP_TASKRUN,
  SETUP_CQSIZE,
  SETUP_DEFER_TASKRUN,
  SETUP_NO_SQARRAY,
  SETUP_R_DISABLED,
  SETUP_SINGLE_ISSUER,
  SETUP_SUBMIT_ALL,
  SQE_ASYNC,
  SQE_FIXED_FILE,
} from "./abi.ts";

/** Set-up flags from best to plainest: kernels refuse those they do not know with EINVAL. */
export const FLAG_SETS: readonly number[] = [
  SETUP_SUBMIT_ALL | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN | SETUP_NO_SQARRAY,
  SETUP_SUBMIT_ALL | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN,
  SETUP_SUBMIT_ALL | SETUP_COOP_TASKRUN,
  0,
];

/** For a ring whose thread sleeps in another system call: deferred completions would not wake that. */
export const POLLABLE_FLAG_SETS: readonly number[] = [0];

const POLLIN = 0x001;
const PROBED_OPS = 64;
const SQE_WORDS = ioUringSqe.size / 4;
const CQE_WORDS = ioUringCqe.size / 4;
/** Words of a submission. */
const FD = ioUringSqe.offsets.fd / 4;
const OFFSET = ioUringSqe.offsets.off / 4;
const ADDRESS = ioUringSqe.offsets.addr / 4;
const LENGTH = ioUringSqe.offsets.len / 4;
const OP_FLAGS = ioUringSqe.offsets.rw_flags / 4;
const USER_DATA = ioUringSqe.offsets.user_data / 4;
/** Words of a completion. */
const RESULT = ioUringCqe.offsets.res / 4;
const FLAGS = ioUringCqe.offsets.flags / 4;

/** The kernel has no io_uring for us: code that can do without falls back. */
export class IoUringUnavailableError extends Error {
  override readonly name = "IoUringUnavailableError";
}

/**
 * An io_uring whose rings are mapped into JavaScript. For the one thread that makes it: set-up, submission and completion
 * must be on the same thread. Nothing on the way of a request allocates.
 *
 * `read`, `write`, `sync`, ... queue a submission each, with a tag of 32 bits that comes back with its completion; `enter`
 * hands them to the kernel and waits; `next` takes completions one by one.
 */
export class IoUring {
  /** The tag of the completion that `next` took. */
  tag = 0;
  /** Its result: what the system call would return, or a negated errno. */
  result = 0;
  /** Whether the same submission will give further completions. */
  more = false;
  /** Submissions that fit between two `enter`. */
  readonly capacity: number;
  /** Submissions that are queued for the next `enter`. */
  unsubmitted = 0;
  readonly #fd: number;
  readonly #mappings: (readonly [address: number, size: number])[] = [];
  readonly #sqWords: Uint32Array;
  readonly #sqes: Uint32Array;
  readonly #sqTailAt: number;
  readonly #sqMask: number;
  readonly #cqWords: Uint32Array;
  readonly #cqes: Int32Array;
  readonly #cqHeadAt: number;
  readonly #cqTailAt: number;
  readonly #cqMask: number;
  #sqTail: number;
  #cqHead: number;
  #cqTail: number;
  #sqeFlags = 0;

  /**
   * @param entries submissions that fit between two `enter`, rounded up to a power of two by the kernel
   * @param completions how many requests will be under way at once at most
   * @param operations what the ring is for (`IoUringOp`). It refuses all else: what a ring does passes no seccomp filter
   * @param flagSets IORING_SETUP_* to try in turn
   * @throws IoUringUnavailableError when the kernel has none, denies it, or cannot do all operations
   */
  constructor(entries: number, completions: number, operations: readonly number[], flagSets = FLAG_SETS) {
    const setup = mapAnonymous(ioUringParams.size);
    try {
      this.#fd = create(entries, completions, flagSets, setup);
      try {
        const params = ioUringParams.at(setup);
        const { sq_off, cq_off, sq_entries, cq_entries } = params;
        const sqBytes = sq_off.array + (params.flags & SETUP_NO_SQARRAY ? 0 : sq_entries * 4);
        const cqBytes = cq_off.cqes + cq_entries * ioUringCqe.size;
        const single = (params.features & FEAT_SINGLE_MMAP) !== 0;
        const sq = this.#map(single ? Math.max(sqBytes, cqBytes) : sqBytes, OFF_SQ_RING);
        const cq = single ? sq : this.#map(cqBytes, OFF_CQ_RING);
        this.#sqes = this.#map(sq_entries * ioUringSqe.size, OFF_SQES).u32;
        this.#sqWords = sq.u32;
        this.#cqWords = cq.u32;
        this.#cqes = cq.i32.subarray(cq_off.cqes / 4);
        this.#sqTailAt = sq_off.tail / 4;
        this.#cqHeadAt = cq_off.head / 4;
        this.#cqTailAt = cq_off.tail / 4;
        this.#sqMask = sq_entries - 1;
        this.#cqMask = cq_entries - 1;
        this.capacity = sq_entries;
        this.#sqTail = this.#sqWords[this.#sqTailAt] ?? 0;
        this.#cqHead = this.#cqWords[this.#cqHeadAt] ?? 0;
        this.#cqTail = this.#cqHead;
        if ((params.flags & SETUP_NO_SQARRAY) === 0)
          for (let i = 0; i < sq_entries; i++) this.#sqWords[sq_off.array / 4 + i] = i;
        if (operations.includes(IoUringOp.POLL_ADD) && (params.features & FEAT_RSRC_TAGS) === 0)
          throw unavailable("it cannot watch for more than one signal, as Linux 5.13 can");
        this.#require(operations);
        this.#enable(operations);
      } catch (error) {
        this.close();
        throw error;
      }
    } finally {
      munmap(setup.address, setup.size);
    }
  }

  /** @throws IoUringUnavailableError naming the first operation that the kernel cannot do */
  #require(operations: readonly number[]): void {
    const block = mapAnonymous(ioUringProbe.size + PROBED_OPS * ioUringProbeOp.size);
    try {
      if (libc.syscall(Sys.io_uring_register, this.#fd, REGISTER_PROBE, block.address, PROBED_OPS, 0, 0) < 0)
        throw unavailable("it cannot say which operations it has", new SysError(errno(), "io_uring_register"));
      const { ops_len } = ioUringProbe.at(block);
      for (const operation of operations) {
        const probed = ioUringProbeOp.at(block, ioUringProbe.size + operation * ioUringProbeOp.size);
        if (operation >= ops_len || (probed.flags & OP_SUPPORTED) === 0)
          throw unavailable(`it lacks operation ${operation}`);
      }
    } finally {
      munmap(block.address, block.size);
    }
  }

  /** Lets the ring take submissions, of these operations only. @throws IoUringUnavailableError */
  #enable(operations: readonly number[]): void {
    const allowed: readonly (readonly [opcode: number, value: number])[] = [
      ...operations.map((operation) => [RESTRICTION_SQE_OP, operation] as const),
      [RESTRICTION_SQE_FLAGS_ALLOWED, SQE_FIXED_FILE | SQE_ASYNC],
      [RESTRICTION_REGISTER_OP, REGISTER_FILES],
    ];
    const block = mapAnonymous(allowed.length * ioUringRestriction.size);
    try {
      allowed.forEach(([opcode, value], i) => {
        const restriction = ioUringRestriction.at(block, i * ioUringRestriction.size);
        restriction.opcode = opcode;
        restriction.value = value;
      });
      const register = (what: number, address: number, count: number): void => {
        if (libc.syscall(Sys.io_uring_register, this.#fd, what, address, count, 0, 0) < 0)
          throw unavailable("its rings cannot be restricted", new SysError(errno(), "io_uring_register"));
      };
      register(REGISTER_RESTRICTIONS, block.address, allowed.length);
      register(REGISTER_ENABLE_RINGS, 0, 0);
    } finally {
      munmap(block.address, block.size);
    }
  }

  /**
   * Registers files, which spares the kernel a look-up for each request. From then on the `fd` of every submission is an
   * index into `fds`.
   * @throws SysError
   */
  registerFiles(fds: readonly number[]): void {
    const block = mapAnonymous(fds.length * 4);
    try {
      block.i32.set(fds);
      check(
        libc.syscall(Sys.io_uring_register, this.#fd, REGISTER_FILES, block.address, fds.length, 0, 0),
        "register files with io_uring",
      );
      this.#sqeFlags = SQE_FIXED_FILE << 8;
    } finally {
      munmap(block.address, block.size);
    }
  }

  /** What an epoll instance can wait for, readable while there are completions, on a ring made with `POLLABLE_FLAG_SETS`. */
  get pollFd(): number {
    return this.#fd;
  }

  /** Whether there is room to queue `count` submissions; if not, `enter` makes some. */
  hasRoom(count: number): boolean {
    return this.unsubmitted + count <= this.capacity;
  }

  /**
   * Queues a read of `length` bytes into memory at `address`. The caller has checked `hasRoom`, here and below.
   * @param offload leave it to a worker of the kernel from the start, here and below: for so much data that copying it
   *   would keep the submitting thread from its other requests
   */
  read(fd: number, address: number, length: number, offset: number, tag: number, offload = false): void {
    this.#queue(IoUringOp.READ, offload, fd, address, length, offset, 0, tag);
  }

  /** Queues a write of `length` bytes of memory at `address`. */
  write(fd: number, address: number, length: number, offset: number, tag: number, offload = false): void {
    this.#queue(IoUringOp.WRITE, offload, fd, address, length, offset, 0, tag);
  }

  /** Queues a read into the `count` iovecs at `iovecs`, which may be used again after the next `enter`. */
  readv(fd: number, iovecs: number, count: number, offset: number, tag: number, offload = false): void {
    this.#queue(IoUringOp.READV, offload, fd, iovecs, count, offset, 0, tag);
  }

  /** Queues a write of the `count` iovecs at `iovecs`, which may be used again after the next `enter`. */
  writev(fd: number, iovecs: number, count: number, offset: number, tag: number, offload = false): void {
    this.#queue(IoUringOp.WRITEV, offload, fd, iovecs, count, offset, 0, tag);
  }

  /** As `writev` to something without offsets, which fails with EAGAIN instead of waiting for room. */
  writevNow(fd: number, iovecs: number, count: number, tag: number): void {
    this.#queue(IoUringOp.WRITEV, false, fd, iovecs, count, 0, RWF_NOWAIT, tag);
  }

  /** As `readv` from something without offsets, which fails with EAGAIN instead of waiting for data. */
  readvNow(fd: number, iovecs: number, count: number, tag: number): void {
    this.#queue(IoUringOp.READV, false, fd, iovecs, count, 0, RWF_NOWAIT, tag);
  }

  /** Queues an fdatasync: covers the writes that completed before it was queued, and no others. */
  sync(fd: number, tag: number): void {
    this.#queue(IoUringOp.FSYNC, false, fd, 0, 0, 0, FSYNC_DATASYNC, tag);
  }

  /** Queues a request that does nothing but complete. */
  nop(tag: number): void {
    this.#queue(IoUringOp.NOP, false, -1, 0, 0, 0, 0, tag);
  }

  /**
   * Queues a watch of an eventfd: a completion now if it is signalled, and one for each signal from then on, while `more`
   * stays true. Nobody has to read the eventfd.
   */
  watch(fd: number, tag: number): void {
    this.#queue(IoUringOp.POLL_ADD, false, fd, 0, POLL_ADD_MULTI, 0, POLLIN, tag);
  }

  /**
   * Hands queued submissions to the kernel and waits until at least `completions` are there. A signal ends that early, and so does a
   * lack of memory, or of room for completions: some may be `unsubmitted` then, and it is to be called again, when completions have been
   * taken.
   * @param completions 0 does not wait
   * @throws SysError
   */
  enter(completions: number): void {
    Atomics.store(this.#sqWords, this.#sqTailAt, this.#sqTail);
    for (;;) {
      const submitted = libc.syscall(
        Sys.io_uring_enter,
        this.#fd,
        this.unsubmitted,
        completions,
        ENTER_GETEVENTS,
        0,
        0,
      );
      if (submitted >= 0) {
        this.unsubmitted -= submitted;
        if (this.unsubmitted === 0) return;
        continue;
      }
      const error = errno();
      // EBUSY: completions must be taken first. EAGAIN: the kernel, which has waited for it, found no memory for a request.
      if (error === Errno.EINTR || error === Errno.EBUSY || error === Errno.EAGAIN) return;
      throw new SysError(error, "io_uring_enter");
    }
  }

  /** How many completions there have been, modulo 2^32. */
  get completed(): number {
    return Atomics.load(this.#cqWords, this.#cqTailAt) >>> 0;
  }

  /** How many of them have been taken, modulo 2^32. */
  get taken(): number {
    return this.#cqHead;
  }

  /** Takes the next completion into `tag`, `result` and `more`. @returns whether there was one */
  next(): boolean {
    if (this.#cqHead === this.#cqTail && !this.#available()) return false;
    const at = (this.#cqHead & this.#cqMask) * CQE_WORDS;
    const cqes = this.#cqes;
    this.tag = (cqes[at] ?? 0) >>> 0;
    this.result = cqes[at + RESULT] ?? 0;
    this.more = ((cqes[at + FLAGS] ?? 0) & CQE_F_MORE) !== 0;
    this.#cqHead = (this.#cqHead + 1) >>> 0;
    if (this.#cqHead === this.#cqTail) Atomics.store(this.#cqWords, this.#cqHeadAt, this.#cqHead);
    return true;
  }

  /** Closes the ring. No request may be under way that uses memory or files which are to be given back. */
  close(): void {
    for (const [address, size] of this.#mappings) munmap(address, size);
    libc.close(this.#fd);
  }

  /** Looks for completions that were not there before. */
  #available(): boolean {
    this.#cqTail = Atomics.load(this.#cqWords, this.#cqTailAt);
    return this.#cqHead !== this.#cqTail;
  }

  #queue(
    opcode: number,
    offload: boolean,
    fd: number,
    address: number,
    length: number,
    offset: number,
    flags: number,
    tag: number,
  ): void {
    const sqes = this.#sqes;
    const at = (this.#sqTail & this.#sqMask) * SQE_WORDS;
    sqes[at] = opcode | this.#sqeFlags | (offload ? SQE_ASYNC << 8 : 0);
    sqes[at + FD] = fd;
    sqes[at + OFFSET] = offset >>> 0;
    sqes[at + OFFSET + 1] = offset / 0x1_0000_0000;
    sqes[at + ADDRESS] = address >>> 0;
    sqes[at + ADDRESS + 1] = address / 0x1_0000_0000;
    sqes[at + LENGTH] = length;
    sqes[at + OP_FLAGS] = flags;
    sqes[at + USER_DATA] = tag;
    this.#sqTail = (this.#sqTail + 1) >>> 0;
    this.unsubmitted++;
  }

  #map(size: number, offset: number): MemoryBlock {
    const address = mmap({
      size,
      prot: Prot.READ | Prot.WRITE,
      flags: MapFlag.SHARED | MapFlag.POPULATE,
      fd: this.#fd,
      offset,
    });
    this.#mappings.push([address, size]);
    return new MemoryBlock(address, size);
  }
}

/** Creates a ring with the best flags the kernel takes; `setup` holds its parameters afterwards. */
function create(entries: number, completions: number, flagSets: readonly number[], setup: MemoryBlock): number {
  let error: SysError | undefined;
  for (const flags of flagSets) {
    setup.u8.fill(0);
    const params = ioUringParams.at(setup);
    params.flags = flags | SETUP_CLAMP | SETUP_CQSIZE | SETUP_R_DISABLED;
    params.cq_entries = Math.max(entries, completions);
    const fd = libc.syscall(Sys.io_uring_setup, entries, setup.address, 0, 0, 0, 0);
    if (fd >= 0) return fd;
    error = new SysError(errno(), "io_uring_setup");
    if (error.errno !== Errno.EINVAL) break;
  }
  if (error?.errno === Errno.ENOSYS) throw unavailable("it is built without io_uring", error);
  if (error?.errno === Errno.EPERM || error?.errno === Errno.EACCES)
    throw unavailable("it denies io_uring to this process (see /proc/sys/kernel/io_uring_disabled)", error);
  throw unavailable("it refuses a ring", error);
}

function unavailable(why: string, cause?: SysError): IoUringUnavailableError {
  return new IoUringUnavailableError(`no io_uring on this kernel: ${why}`, cause === undefined ? undefined : { cause });
}
