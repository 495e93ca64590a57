/** errno values that code here branches on (asm-generic/errno-base.h, errno.h). */
export const Errno = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  ENOTTY: 25,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EPIPE: 32,
  ENOSYS: 38,
  ETIME: 62,
  EBADFD: 77,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  ECONNRESET: 104,
  ENOBUFS: 105,
  ETIMEDOUT: 110,
  ECANCELED: 125,
} as const;

/** The symbolic name of an errno value, for messages: `EACCES`, or `errno 512` where it has none. */
export function errnoName(errno: number): string {
  // Loading the module takes more memory than all else here: only a thread with something to report pays for it.
  const { constants } = process.getBuiltinModule("node:os");
  for (const [name, value] of Object.entries({ ...constants.errno, ...Errno })) if (value === errno) return name;
  return `errno ${errno}`;
}

/** A system call that failed: which one, on what, and the errno it gave. */
export class SysError extends Error {
  override readonly name = "SysError";
  readonly errno: number;

  /** @param what the attempted action, as "open /dev/kvm" */
  constructor(errno: number, what: string) {
    super(`${what}: ${errnoName(errno)}${errno === Errno.EMFILE ? ": raise the limit of open files (ulimit -n)" : ""}`);
    this.errno = errno;
  }
}
