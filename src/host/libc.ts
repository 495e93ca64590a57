import { dlopen, type FFIFunction, FFIType, type Pointer, read } from "bun:ffi";
import { SysError } from "./errno.ts";

const functions = {
  __errno_location: { args: [], returns: "ptr" },
  syscall: { args: ["i64", "u64", "u64", "u64", "u64", "u64", "u64"], returns: FFIType.i64_fast },
  ioctl: { args: ["i32", "u64", "u64"], returns: "i32" },
  mmap: { args: ["u64", "u64", "i32", "i32", "i32", "i64"], returns: FFIType.i64_fast },
  munmap: { args: ["u64", "u64"], returns: "i32" },
  memcpy: { args: ["u64", "u64", "u64"], returns: FFIType.i64_fast },
  memmove: { args: ["u64", "u64", "u64"], returns: FFIType.i64_fast },
  memset: { args: ["u64", "i32", "u64"], returns: FFIType.i64_fast },
  madvise: { args: ["u64", "u64", "i32"], returns: "i32" },
  mlock: { args: ["u64", "u64"], returns: "i32" },
  munlock: { args: ["u64", "u64"], returns: "i32" },
  memfd_create: { args: ["u64", "u32"], returns: "i32" },
  ftruncate: { args: ["i32", "i64"], returns: "i32" },
  open: { args: ["u64", "i32", "u32"], returns: "i32" },
  unlink: { args: ["u64"], returns: "i32" },
  close: { args: ["i32"], returns: "i32" },
  dup: { args: ["i32"], returns: "i32" },
  fcntl: { args: ["i32", "i32", "u64"], returns: "i32" },
  lseek: { args: ["i32", "i64", "i32"], returns: FFIType.i64_fast },
  read: { args: ["i32", "u64", "u64"], returns: FFIType.i64_fast },
  write: { args: ["i32", "u64", "u64"], returns: FFIType.i64_fast },
  readv: { args: ["i32", "u64", "i32"], returns: FFIType.i64_fast },
  writev: { args: ["i32", "u64", "i32"], returns: FFIType.i64_fast },
  pread: { args: ["i32", "u64", "u64", "i64"], returns: FFIType.i64_fast },
  pwrite: { args: ["i32", "u64", "u64", "i64"], returns: FFIType.i64_fast },
  preadv: { args: ["i32", "u64", "i32", "i64"], returns: FFIType.i64_fast },
  pwritev: { args: ["i32", "u64", "i32", "i64"], returns: FFIType.i64_fast },
  fsync: { args: ["i32"], returns: "i32" },
  fdatasync: { args: ["i32"], returns: "i32" },
  fallocate: { args: ["i32", "i32", "i64", "i64"], returns: "i32" },
  statx: { args: ["i32", "u64", "i32", "u32", "u64"], returns: "i32" },
  eventfd: { args: ["u32", "i32"], returns: "i32" },
  timerfd_create: { args: ["i32", "i32"], returns: "i32" },
  timerfd_settime: { args: ["i32", "i32", "u64", "u64"], returns: "i32" },
  inotify_init1: { args: ["i32"], returns: "i32" },
  inotify_add_watch: { args: ["i32", "u64", "u32"], returns: "i32" },
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "u64"], returns: "i32" },
  bind: { args: ["i32", "u64", "u32"], returns: "i32" },
  listen: { args: ["i32", "i32"], returns: "i32" },
  accept4: { args: ["i32", "u64", "u64", "i32"], returns: "i32" },
  connect: { args: ["i32", "u64", "u32"], returns: "i32" },
  shutdown: { args: ["i32", "i32"], returns: "i32" },
  getsockopt: { args: ["i32", "i32", "i32", "u64", "u64"], returns: "i32" },
  recv: { args: ["i32", "u64", "u64", "i32"], returns: FFIType.i64_fast },
  sendmsg: { args: ["i32", "u64", "i32"], returns: FFIType.i64_fast },
  recvmsg: { args: ["i32", "u64", "i32"], returns: FFIType.i64_fast },
  poll: { args: ["u64", "u64", "i32"], returns: "i32" },
  epoll_create1: { args: ["i32"], returns: "i32" },
  epoll_ctl: { args: ["i32", "i32", "i32", "u64"], returns: "i32" },
  epoll_wait: { args: ["i32", "u64", "i32", "i32"], returns: "i32" },
  clock_gettime: { args: ["i32", "u64"], returns: "i32" },
  prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  gettid: { args: [], returns: "i32" },
  getpid: { args: [], returns: "i32" },
  sigaction: { args: ["i32", "u64", "u64"], returns: "i32" },
  sched_getaffinity: { args: ["i32", "u64", "u64"], returns: "i32" },
  sched_setaffinity: { args: ["i32", "u64", "u64"], returns: "i32" },
  tcgetattr: { args: ["i32", "u64"], returns: "i32" },
  tcsetattr: { args: ["i32", "i32", "u64"], returns: "i32" },
  isatty: { args: ["i32"], returns: "i32" },
  umask: { args: ["u32"], returns: "u32" },
  dlsym: { args: ["u64", "u64"], returns: FFIType.i64_fast },
  _exit: { args: ["i32"], returns: "void" },
} as const satisfies Record<string, FFIFunction>;

/** Every argument and result of `functions` is a number at run time: no value of theirs needs more than 53 bits. */
type Numbers<A extends readonly unknown[]> = { -readonly [I in keyof A]: number };
type Functions = {
  readonly [K in keyof typeof functions]: (...args: Numbers<(typeof functions)[K]["args"]>) => number;
};

/**
 * The C library, called directly. Pointers are plain numbers (user addresses fit in 53 bits); a failing call returns -1
 * and leaves its reason in `errno()`. Use `check` for calls whose failure is an error.
 */
export const libc = dlopen("libc.so.6", functions).symbols as unknown as Functions;

/** Address of this thread's errno: the C library never moves it during a thread's life. */
const errnoAddress = libc.__errno_location() as Pointer;

/** The calling thread's errno. Valid only directly after the call that failed. */
export function errno(): number {
  return read.i32(errnoAddress, 0);
}

/**
 * Passes a system call's result through, or throws.
 * @throws SysError when `result` is negative, naming `what` was attempted.
 */
export function check(result: number, what: string): number {
  if (result < 0) throw new SysError(errno(), what);
  return result;
}
