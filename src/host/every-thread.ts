import { readdirSync } from "node:fs";
import { Errno, SysError } from "./errno.ts";
import { createEventFd, drainEventFd } from "./eventfd.ts";
import { check, errno, libc } from "./libc.ts";
import type { MemoryBlock } from "./memory-block.ts";
import { mapAnonymous, PAGE_SIZE, Prot } from "./mmap.ts";
import { waitReadable } from "./poll.ts";
import { Sys } from "./syscall-numbers.ts";

/** A system call with up to five arguments, all of them numbers or addresses in mapped memory that stays. */
export interface SystemCall {
  readonly number: number;
  readonly args: readonly number[];
  /** For the error: what is attempted, as "drop capability 21". */
  readonly what: string;
  /** An errno that says of a thread that it has been through this: it was started by one that had. */
  readonly doneErrno?: number;
}

/**
 * The signal that the C library itself keeps for setuid(2), which also has to act on each thread: it lets no thread block it, not
 * even those of the runtime that block all signals. The C library's sigaction(3) refuses it, so it is set by system calls.
 */
const SIGSETXID = 33;
const SI_QUEUE = -1;
const SA_SIGINFO = 0x4;
const SA_RESTORER = 0x0400_0000;
const SA_RESTART = 0x1000_0000;
/** Bytes of the kernel's sigset_t. */
const SIGSET_BYTES = 8;

/** struct siginfo (asm-generic/siginfo.h): where signal, code and the value are. */
const SIGINFO = { bytes: 128, signo: 0, code: 8, value: 24 } as const;
/** The kernel's struct sigaction (asm/signal.h). */
const SIGACTION = { bytes: 32, handler: 0, flags: 8, restorer: 16 } as const;
/** A call in the list that the handler works on: number, arguments, result. */
const CALL = { bytes: 56, args: 8, result: 48, maxArgs: 5 } as const;
const END = -1;

/** How long a thread may take to get round to a signal: a host that is overloaded must not make the start fail. */
const PATIENCE_MS = 10_000;
const GLANCE_MS = 50;

/**
 * The handler: makes the calls of the list that the signal's value points to. Machine code, since JavaScript cannot run in a
 * signal handler and no function of the C library does this.
 */
// biome-ignore format: one instruction a line
const HANDLER: readonly number[] = [
  0xf3, 0x0f, 0x1e, 0xfa, // endbr64
  0x53, //                   push rbx
  0x48, 0x8b, 0x5e, 0x18, // mov rbx, [rsi+24]    # siginfo's value: the list
  0x48, 0x8b, 0x03, //       next: mov rax, [rbx] # number of the call
  0x48, 0x85, 0xc0, //       test rax, rax
  0x78, 0x20, //             js done
  0x48, 0x8b, 0x7b, 0x08, // mov rdi, [rbx+8]
  0x48, 0x8b, 0x73, 0x10, // mov rsi, [rbx+16]
  0x48, 0x8b, 0x53, 0x18, // mov rdx, [rbx+24]
  0x4c, 0x8b, 0x53, 0x20, // mov r10, [rbx+32]
  0x4c, 0x8b, 0x43, 0x28, // mov r8, [rbx+40]
  0x0f, 0x05, //             syscall
  0x48, 0x89, 0x43, 0x30, // mov [rbx+48], rax
  0x48, 0x83, 0xc3, 0x38, // add rbx, 56
  0xeb, 0xd8, //             jmp next
  0x5b, //                   done: pop rbx
  0xc3, //                   ret
];
/** What the kernel wants to be called at a handler's end: rt_sigreturn(2). */
// biome-ignore format: one instruction a line
const RESTORER: readonly number[] = [
  0xb8, 0x0f, 0x00, 0x00, 0x00, // mov eax, 15
  0x0f, 0x05, //                   syscall
];

/** The code of the handler and of its return, for a test that reads it. */
export const HANDLER_CODE = { handler: HANDLER, restorer: RESTORER } as const;

/** Something that has to hold for the whole process cannot be brought to one of its threads. */
export class EveryThreadError extends Error {
  override readonly name = "EveryThreadError";
}

/** The handler as mapped memory. */
interface Code {
  readonly handler: number;
  readonly restorer: number;
}

/** What all calls use. None of it is ever given back: a thread may still be on its way from telling that its calls are made. */
interface Means extends Code {
  /** For structures of system calls, and a 1 at its end. */
  readonly memory: MemoryBlock;
  /** Where the 1 lies. */
  readonly one: number;
  /** The eventfd that it is written to. */
  readonly wakeFd: number;
}

let means: Means | undefined;

/** Maps the code, executable and not writable. */
function mapCode(): Code {
  if (process.arch !== "x64") throw new EveryThreadError(`no way to act on every thread is known on ${process.arch}`);
  const block = mapAnonymous(PAGE_SIZE);
  block.u8.set(HANDLER);
  block.u8.set(RESTORER, HANDLER.length);
  const prot = Prot.READ | Prot.EXEC;
  check(libc.syscall(Sys.mprotect, block.address, PAGE_SIZE, prot, 0, 0, 0), "make the signal handler executable");
  return { handler: block.address, restorer: block.address + HANDLER.length };
}

/**
 * Maps what `onEveryThread` needs: in time, where a process is going to be forbidden to make memory executable.
 * @throws SysError, EveryThreadError
 */
export function prepareEveryThread(): void {
  preparedMeans();
}

function preparedMeans(): Means {
  if (means !== undefined) return means;
  const memory = mapAnonymous(PAGE_SIZE);
  const one = memory.sub(PAGE_SIZE - 8, 8);
  one.u32[0] = 1;
  means = { ...mapCode(), memory, one: one.address, wakeFd: createEventFd() };
  return means;
}

/** Sets the signal's handler, and keeps what it was. @returns puts that back. @throws SysError */
function takeSignal(memory: MemoryBlock, { handler, restorer }: Code): () => void {
  const { view, address } = memory;
  view.setBigUint64(SIGACTION.handler, BigInt(handler), true);
  view.setBigUint64(SIGACTION.flags, BigInt(SA_SIGINFO | SA_RESTORER | SA_RESTART), true);
  view.setBigUint64(SIGACTION.restorer, BigInt(restorer), true);
  const old = address + SIGACTION.bytes;
  const set = (action: number, oldAction: number): void => {
    check(libc.syscall(Sys.rt_sigaction, SIGSETXID, action, oldAction, SIGSET_BYTES, 0, 0), "set a signal's handler");
  };
  set(address, old);
  return () => set(old, 0);
}

/** The calls for one thread, in memory, behind them two that tell: one whose result is not 0, then one that wakes us. */
class CallList {
  readonly thread: number;
  readonly #memory: MemoryBlock;
  readonly #calls: readonly SystemCall[];

  constructor(thread: number, calls: readonly SystemCall[], { wakeFd, one }: Means) {
    this.thread = thread;
    this.#calls = calls;
    const all = [
      ...calls,
      { number: Sys.gettid, args: [] },
      { number: Sys.write, args: [wakeFd, one, 8] },
      { number: END, args: [] },
    ];
    // It stays mapped, as the means do.
    this.#memory = mapAnonymous(all.length * CALL.bytes);
    const { view } = this.#memory;
    all.forEach(({ number, args }, i) => {
      const at = i * CALL.bytes;
      if (args.length > CALL.maxArgs) throw new RangeError(`system call ${number} with ${args.length} arguments`);
      view.setBigInt64(at, BigInt(number), true);
      args.forEach((arg, n) => {
        view.setBigInt64(at + CALL.args + 8 * n, BigInt(arg), true);
      });
    });
  }

  /** Has the thread make the calls. @returns false when there is no such thread any more @throws SysError */
  send({ view, address, u8 }: MemoryBlock): boolean {
    u8.fill(0, 0, SIGINFO.bytes);
    view.setInt32(SIGINFO.signo, SIGSETXID, true);
    view.setInt32(SIGINFO.code, SI_QUEUE, true);
    view.setBigUint64(SIGINFO.value, BigInt(this.#memory.address), true);
    if (libc.syscall(Sys.rt_tgsigqueueinfo, libc.getpid(), this.thread, SIGSETXID, address, 0, 0) === 0) return true;
    if (errno() === Errno.ESRCH) return false;
    throw new SysError(errno(), `signal thread ${this.thread}`);
  }

  get isDone(): boolean {
    return this.#resultOf(this.#calls.length) !== 0;
  }

  /** @throws SysError when one of the calls failed */
  check(): void {
    this.#calls.forEach(({ what, doneErrno }, i) => {
      const result = this.#resultOf(i);
      if (result < 0 && -result !== doneErrno) throw new SysError(-result, what);
    });
  }

  #resultOf(call: number): number {
    return Number(this.#memory.view.getBigInt64(call * CALL.bytes + CALL.result, true));
  }
}

const threadIds = (): readonly number[] => readdirSync("/proc/self/task").map(Number);

/** Waits until threads have made their calls. @throws EveryThreadError */
function waitFor(lists: readonly CallList[], doneFd: number): void {
  const deadline = performance.now() + PATIENCE_MS;
  let waiting = lists.filter((list) => !list.isDone);
  while (waiting.length > 0) {
    if (waitReadable(doneFd, GLANCE_MS)) drainEventFd(doneFd);
    else {
      // One that has ended in the meantime tells nobody.
      const alive = new Set(threadIds());
      waiting = waiting.filter(({ thread }) => alive.has(thread));
    }
    waiting = waiting.filter((list) => !list.isDone);
    if (performance.now() < deadline) continue;
    const ids = waiting.map(({ thread }) => thread).join(", ");
    throw new EveryThreadError(`threads ${ids} do not take a signal within ${PATIENCE_MS / 1000} s`);
  }
}

/**
 * Makes system calls on every thread of the process, those of the runtime included, as the C library does for setuid(2): what the
 * kernel keeps by thread - capabilities, Landlock domains - then holds for the process, since a thread starts with what the one
 * has that starts it. One that starts meanwhile may go through the calls twice. The calling thread comes first; it must still be able to read /proc/self after the calls.
 * @param calls made in order by each thread, whatever comes of them
 * @throws SysError when a call fails on a thread, EveryThreadError. Threads may differ then
 */
export function onEveryThread(calls: readonly SystemCall[]): void {
  const tools = preparedMeans();
  const { memory, wakeFd } = tools;
  const giveBack = takeSignal(memory.sub(PAGE_SIZE / 2, 2 * SIGACTION.bytes), tools);
  const seen = new Set<number>();
  for (let ids: readonly number[] = [libc.gettid()]; ids.length > 0; ids = threadIds().filter((id) => !seen.has(id))) {
    const lists = ids.map((id) => new CallList(id, calls, tools));
    // After an error here the handler stays: threads may still get the signal.
    waitFor(
      lists.filter((list) => list.send(memory)),
      wakeFd,
    );
    try {
      for (const list of lists) list.check();
    } catch (error) {
      giveBack();
      throw error;
    }
    for (const id of ids) seen.add(id);
  }
  giveBack();
}
