import { dlopen, type FFIFunction, FFIType, linkSymbols, type Pointer, read } from "bun:ffi";
import { SysError } from "./errno.ts";
import { systemCallStubs } from "./system-call-stubs.ts";

/** System calls, with their numbers (asm/unistd_64.h). */
export const systemCalls = {
  ioctl: { number: 16, args: ["i32", "u64", "u64"] },
  mmap: { number: 9, args: ["u64", "u64", "i32", "i32", "i32", "i64"] },
  mprotect: { number: 10, args: ["u64", "u64", "i32"] },
  munmap: { number: 11, args: ["u64", "u64"] },
  madvise: { number: 28, args: ["u64", "u64", "i32"] },
  mlock: { number: 149, args: ["u64", "u64"] },
  munlock: { number: 150, args: ["u64", "u64"] },
  memfd_create: { number: 319, args: ["u64", "u32"] },
  ftruncate: { number: 77, args: ["i32", "i64"] },
  open: { number: 2, args: ["u64", "i32", "u32"] },
  unlink: { number: 87, args: ["u64"] },
  close: { number: 3, args: ["i32"] },
  dup: { number: 32, args: ["i32"] },
  fcntl: { number: 72, args: ["i32", "i32", "u64"] },
  lseek: { number: 8, args: ["i32", "i64", "i32"] },
  read: { number: 0, args: ["i32", "u64", "u64"] },
  write: { number: 1, args: ["i32", "u64", "u64"] },
  readv: { number: 19, args: ["i32", "u64", "i32"] },
  writev: { number: 20, args: ["i32", "u64", "i32"] },
  pread: { number: 17, args: ["i32", "u64", "u64", "i64"] },
  pwrite: { number: 18, args: ["i32", "u64", "u64", "i64"] },
  preadv: { number: 295, args: ["i32", "u64", "i32", "i64"] },
  pwritev: { number: 296, args: ["i32", "u64", "i32", "i64"] },
  fdatasync: { number: 75, args: ["i32"] },
  fallocate: { number: 285, args: ["i32", "i32", "i64", "i64"] },
  statx: { number: 332, args: ["i32", "u64", "i32", "u32", "u64"] },
  eventfd: { number: 290, args: ["u32", "i32"] },
  timerfd_create: { number: 283, args: ["i32", "i32"] },
  timerfd_settime: { number: 286, args: ["i32", "i32", "u64", "u64"] },
  inotify_init1: { number: 294, args: ["i32"] },
  inotify_add_watch: { number: 254, args: ["i32", "u64", "u32"] },
  socket: { number: 41, args: ["i32", "i32", "i32"] },
  socketpair: { number: 53, args: ["i32", "i32", "i32", "u64"] },
  bind: { number: 49, args: ["i32", "u64", "u32"] },
  listen: { number: 50, args: ["i32", "i32"] },
  accept4: { number: 288, args: ["i32", "u64", "u64", "i32"] },
  connect: { number: 42, args: ["i32", "u64", "u32"] },
  shutdown: { number: 48, args: ["i32", "i32"] },
  getsockopt: { number: 55, args: ["i32", "i32", "i32", "u64", "u64"] },
  recvfrom: { number: 45, args: ["i32", "u64", "u64", "i32", "u64", "u64"] },
  sendmsg: { number: 46, args: ["i32", "u64", "i32"] },
  recvmsg: { number: 47, args: ["i32", "u64", "i32"] },
  poll: { number: 7, args: ["u64", "u64", "i32"] },
  epoll_create1: { number: 291, args: ["i32"] },
  epoll_ctl: { number: 233, args: ["i32", "i32", "i32", "u64"] },
  epoll_wait: { number: 232, args: ["i32", "u64", "i32", "i32"] },
  prctl: { number: 157, args: ["i32", "u64", "u64", "u64", "u64"] },
  sched_getaffinity: { number: 204, args: ["i32", "u64", "u64"] },
  sched_setaffinity: { number: 203, args: ["i32", "u64", "u64"] },
} as const satisfies Record<string, Pick<FFIFunction, "args"> & { readonly number: number }>;

const ANY_CALL = ["i64", "u64", "u64", "u64", "u64", "u64", "u64"] as const;

const functions = {
  __errno_location: { args: [], returns: "ptr" },
  memcpy: { args: ["u64", "u64", "u64"], returns: FFIType.i64_fast },
  memmove: { args: ["u64", "u64", "u64"], returns: FFIType.i64_fast },
  memset: { args: ["u64", "i32", "u64"], returns: FFIType.i64_fast },
  clock_gettime: { args: ["i32", "u64"], returns: "i32" },
  gettid: { args: [], returns: "i32" },
  getpid: { args: [], returns: "i32" },
  sigaction: { args: ["i32", "u64", "u64"], returns: "i32" },
  tcgetattr: { args: ["i32", "u64"], returns: "i32" },
  tcsetattr: { args: ["i32", "i32", "u64"], returns: "i32" },
  isatty: { args: ["i32"], returns: "i32" },
  umask: { args: ["u32"], returns: "u32" },
  getauxval: { args: ["u64"], returns: FFIType.i64_fast },
  dlsym: { args: ["u64", "u64"], returns: FFIType.i64_fast },
  _exit: { args: ["i32"], returns: "void" },
} as const satisfies Record<string, FFIFunction>;

/** Every argument and result of our functions is a number at run time: no value of theirs needs more than 53 bits. */
type Numbers<A extends readonly unknown[]> = { -readonly [I in keyof A]: number };
type Bound<T extends Record<string, FFIFunction>> = {
  readonly [K in keyof T]: (...args: Numbers<NonNullable<T[K]["args"]>>) => number;
};

/** What the calling thread has bound: code that the runtime keeps for the life of the process unless it is told. */
const bindings: { close(): void }[] = [];

/** Functions of the C library. Each thread pays for what it binds, so `libc` has only what most of them need. */
export function bindLibc<const T extends Record<string, FFIFunction>>(wanted: T): Bound<T> {
  const library = dlopen("libc.so.6", wanted);
  bindings.push(library);
  return library.symbols as unknown as Bound<T>;
}

type Calls = {
  readonly [K in keyof typeof systemCalls]: (...args: Numbers<(typeof systemCalls)[K]["args"]>) => number;
} & { readonly syscall: (...args: Numbers<typeof ANY_CALL>) => number };

const stubs = systemCallStubs(Object.values(systemCalls).map(({ number }) => number));

/** What `new Worker` of a thread that uses `libc` has to be given. */
export const WORKER_ARGUMENTS = stubs.workerArguments;

/** The errno of the last call that failed. */
let failure = 0;

type AnyFunction = (...args: number[]) => number;

/** What the kernel returns becomes what the C library would return, and an errno. */
function asInC(call: AnyFunction): AnyFunction {
  // Functions take as many arguments as they have; seven is the most.
  return (a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0) => {
    const result = call(a, b, c, d, e, f, g);
    if (result >= 0) return result;
    failure = -result;
    return -1;
  };
}

function linkSystemCalls(): Calls {
  const entries = Object.entries(systemCalls).map(
    ([name, { args }], i) => [name, { args, returns: FFIType.i64_fast, ptr: stubs.each(i) }] as const,
  );
  const linked = linkSymbols(
    Object.fromEntries([...entries, ["syscall", { args: ANY_CALL, returns: FFIType.i64_fast, ptr: stubs.byNumber }]]),
  );
  bindings.push(linked);
  return Object.fromEntries(
    Object.entries(linked.symbols).map(([name, call]) => [name, asInC(call as unknown as AnyFunction)]),
  ) as unknown as Calls;
}

const library = bindLibc(functions);

/** Address of this thread's errno: the C library never moves it during a thread's life. */
const errnoAddress = library.__errno_location() as Pointer;

/** Has the errno of a function of the C library kept. */
function keepErrno<A extends number[]>(call: (...args: A) => number): (...args: A) => number {
  return (...args) => {
    const result = call(...args);
    if (result < 0) failure = read.i32(errnoAddress, 0);
    return result;
  };
}

/**
 * System calls, and functions of the C library. Pointers are plain numbers (user addresses fit in 53 bits); a failing call returns
 * -1 and leaves its reason in `errno()`. Use `check` for calls whose failure is an error.
 */
export const libc = {
  ...linkSystemCalls(),
  ...library,
  sigaction: keepErrno(library.sigaction),
  tcgetattr: keepErrno(library.tcgetattr),
  tcsetattr: keepErrno(library.tcsetattr),
};

/** Gives up what the calling thread has bound. It makes no call here any more: for the end of a worker. */
export function unbindLibc(): void {
  for (const binding of bindings) binding.close();
  bindings.length = 0;
}

/** Why the calling thread's last call that failed did so. */
export function errno(): number {
  return failure;
}

/**
 * Passes a system call's result through, or throws.
 * @throws SysError when `result` is negative, naming `what` was attempted.
 */
export function check(result: number, what: string): number {
  if (result < 0) throw new SysError(errno(), what);
  return result;
}
