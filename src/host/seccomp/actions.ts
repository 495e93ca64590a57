/** What a filter tells the kernel to do (linux/seccomp.h, SECCOMP_RET_*). */
export const SeccompAction = {
  KILL_PROCESS: 0x8000_0000,
  TRAP: 0x0003_0000,
  LOG: 0x7ffc_0000,
  ALLOW: 0x7fff_0000,
} as const;

/** Fails the call with an errno. */
export const failWith = (errno: number): number => 0x0005_0000 | errno;

/**
 * The last two instructions of every program return what is done about a call that is refused quietly, and about one that is not
 * listed at all. They depend on the mode, and are filled in when the program is installed.
 */
export const MODE_INSTRUCTIONS = { refused: -2, unlisted: -1 } as const;
