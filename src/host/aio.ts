import { Errno, SysError } from "./errno.ts";
import { errno, libc } from "./libc.ts";
import { mapAnonymous, munmap } from "./mmap.ts";
import { struct, u16, u32, u64 } from "./struct.ts";
import { Sys } from "./syscall-numbers.ts";

/** Linux AIO as linux/aio_abi.h defines it. */
export const iocb = struct("iocb", {
  aio_data: u64,
  aio_key: u32,
  aio_rw_flags: u32,
  aio_lio_opcode: u16,
  aio_reqprio: u16,
  aio_fildes: u32,
  aio_buf: u64,
  aio_nbytes: u64,
  aio_offset: u64,
  aio_reserved2: u64,
  aio_flags: u32,
  aio_resfd: u32,
});

export const ioEvent = struct("io_event", { data: u64, obj: u64, res: u64, res2: u64 });

/** IOCB_CMD_* */
export const IocbCommand = { FDSYNC: 3, PREADV: 7, PWRITEV: 8 } as const;
export const IOCB_FLAG_RESFD = 1 << 0;

const POINTER_BYTES = 8;
const IOCB_WORDS = iocb.size / 4;
const EVENT_WORDS = ioEvent.size / 4;
/** Words of a request. */
const DATA = iocb.offsets.aio_data / 4;
const OPCODE = iocb.offsets.aio_lio_opcode / 4;
const FD = iocb.offsets.aio_fildes / 4;
const BUFFER = iocb.offsets.aio_buf / 4;
const BYTES = iocb.offsets.aio_nbytes / 4;
const OFFSET = iocb.offsets.aio_offset / 4;
const FLAGS = iocb.offsets.aio_flags / 4;
const RESFD = iocb.offsets.aio_resfd / 4;
const RESULT = ioEvent.offsets.res / 4;

/** The kernel has no Linux AIO for us: code that can do without falls back. */
export class AioUnavailableError extends Error {
  override readonly name = "AioUnavailableError";
}

/**
 * A Linux AIO context. Requests are named by a tag below `tags`, under which at most one is queued or under way: `queue` some,
 * hand them over with `submit`, find what has ended with `collect` and take it with `next`. Nothing here allocates for a
 * request.
 */
export class Aio {
  /** The tag of the completion that `next` took. */
  tag = 0;
  /** Its result: what the system call would return, or a negated errno. */
  result = 0;
  readonly #tags: number;
  readonly #completionFd: number;
  readonly #context: number;
  readonly #memory: ReturnType<typeof mapAnonymous>;
  readonly #words: Uint32Array;
  readonly #results: Int32Array;
  readonly #pointersAt: number;
  readonly #eventsAt: number;
  #queued = 0;
  #underWay = 0;
  #head = 0;
  #tail = 0;

  /**
   * @param tags requests that may be under way at once
   * @param completionFd eventfd that the kernel signals for each completion
   * @throws AioUnavailableError when the kernel has none or has no more of it to give
   */
  constructor(tags: number, completionFd: number) {
    this.#tags = tags;
    this.#completionFd = completionFd;
    this.#pointersAt = tags * iocb.size;
    this.#eventsAt = this.#pointersAt + tags * POINTER_BYTES;
    this.#memory = mapAnonymous(this.#eventsAt + tags * ioEvent.size);
    this.#words = this.#memory.u32;
    this.#results = this.#memory.i32;
    // The word in which the kernel puts the context's id is free until there are requests.
    if (libc.syscall(Sys.io_setup, tags, this.#memory.address, 0, 0, 0, 0) < 0) {
      const cause = new SysError(errno(), "io_setup");
      munmap(this.#memory.address, this.#memory.size);
      throw new AioUnavailableError(`no Linux AIO on this kernel${adviceOn(cause)}`, { cause });
    }
    this.#context = (this.#words[0] ?? 0) + (this.#words[1] ?? 0) * 0x1_0000_0000;
  }

  /**
   * Queues a request.
   * @param command `IocbCommand`
   * @param iovecs address of `count` struct iovec, which stay as they are until the request completes
   */
  queue(command: number, fd: number, iovecs: number, count: number, offset: number, tag: number): void {
    const words = this.#words;
    const at = tag * IOCB_WORDS;
    words.fill(0, at, at + IOCB_WORDS);
    words[at + DATA] = tag;
    words[at + OPCODE] = command;
    words[at + FD] = fd;
    words[at + BUFFER] = iovecs >>> 0;
    words[at + BUFFER + 1] = iovecs / 0x1_0000_0000;
    words[at + BYTES] = count;
    words[at + OFFSET] = offset >>> 0;
    words[at + OFFSET + 1] = offset / 0x1_0000_0000;
    words[at + FLAGS] = IOCB_FLAG_RESFD;
    words[at + RESFD] = this.#completionFd;
    const address = this.#memory.address + tag * iocb.size;
    const pointer = this.#pointersAt / 4 + this.#queued++ * 2;
    words[pointer] = address >>> 0;
    words[pointer + 1] = address / 0x1_0000_0000;
  }

  /** Hands queued requests to the kernel. Those that it refuses complete with its reason. @throws SysError */
  submit(): void {
    let done = 0;
    while (done < this.#queued) {
      const pointers = this.#memory.address + this.#pointersAt + done * POINTER_BYTES;
      const count = libc.syscall(Sys.io_submit, this.#context, this.#queued - done, pointers, 0, 0, 0);
      if (count > 0) {
        done += count;
        this.#underWay += count;
        continue;
      }
      const error = errno();
      if (count < 0 && error === Errno.EINTR) continue;
      if (count < 0 && error === Errno.EAGAIN && this.#underWay > 0) break;
      // The first of them is at fault, or nothing is under way whose end would make room for it.
      this.#refuse(done++, count < 0 ? error : Errno.EAGAIN);
    }
    const from = this.#pointersAt / 4;
    this.#words.copyWithin(from, from + done * 2, from + this.#queued * 2);
    this.#queued -= done;
  }

  /** Whether `submit` has left requests for when others have ended. */
  get hasQueued(): boolean {
    return this.#queued > 0;
  }

  /** Looks for completions, without waiting, when all earlier ones have been taken. @throws SysError */
  collect(): void {
    if (this.#head < this.#tail || this.#underWay === 0) return;
    this.#head = 0;
    this.#tail = 0;
    const events = this.#memory.address + this.#eventsAt;
    const count = libc.syscall(Sys.io_getevents, this.#context, 0, this.#tags, events, 0, 0);
    if (count < 0) {
      if (errno() === Errno.EINTR) return;
      throw new SysError(errno(), "io_getevents");
    }
    this.#tail = count;
    this.#underWay -= count;
  }

  /** Whether `next` has completions to take. */
  get hasCompletions(): boolean {
    return this.#head < this.#tail;
  }

  /** Takes the next completion into `tag` and `result`. @returns whether there was one */
  next(): boolean {
    if (this.#head >= this.#tail) return false;
    const at = this.#eventsAt / 4 + this.#head++ * EVENT_WORDS;
    this.tag = this.#words[at] ?? 0;
    this.result = this.#results[at + RESULT] ?? 0;
    return true;
  }

  /** Ends the context. No request may be under way. */
  close(): void {
    libc.syscall(Sys.io_destroy, this.#context, 0, 0, 0, 0, 0);
    munmap(this.#memory.address, this.#memory.size);
  }

  /** Has a queued request end without the kernel. */
  #refuse(index: number, error: number): void {
    const pointer = this.#pointersAt / 4 + index * 2;
    const address = (this.#words[pointer] ?? 0) + (this.#words[pointer + 1] ?? 0) * 0x1_0000_0000;
    const events = this.#eventsAt / 4;
    // A tag is in one place only, so that without what was taken there is an event for each.
    this.#words.copyWithin(events, events + this.#head * EVENT_WORDS, events + this.#tail * EVENT_WORDS);
    this.#tail -= this.#head;
    this.#head = 0;
    const at = events + this.#tail++ * EVENT_WORDS;
    this.#words[at] = (address - this.#memory.address) / iocb.size;
    this.#results[at + RESULT] = -error;
  }
}

function adviceOn({ errno: reason }: SysError): string {
  if (reason === Errno.ENOSYS) return ": it is built without";
  return reason === Errno.EAGAIN ? ": all of it is in use (see /proc/sys/fs/aio-max-nr)" : "";
}
