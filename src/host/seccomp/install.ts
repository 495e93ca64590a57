import { Errno, SysError } from "../errno.ts";
import { check, errno, libc } from "../libc.ts";
import { mapAnonymous, munmap } from "../mmap.ts";
import { Sys } from "../syscall-numbers.ts";
import { failWith, MODE_INSTRUCTIONS, SeccompAction } from "./actions.ts";
import { INSTRUCTION_BYTES, Op } from "./bpf.ts";
import { THIS_PROCESS } from "./policy.ts";

/** What is done about a system call that a filter does not list: end the process, only log it, or fail it with EPERM. */
export type SeccompMode = "trap" | "log" | "errno";

/** Filters cannot be had. The message says what to do. */
export class SeccompError extends Error {
  override readonly name = "SeccompError";
}

const PR_SET_NO_NEW_PRIVS = 38;
const SECCOMP_SET_MODE_FILTER = 1;
/** SECCOMP_FILTER_FLAG_TSYNC: for all threads of the process. */
const FILTER_ALL_THREADS = 1;
/** struct sock_fprog: a count of instructions, and their address. */
const FPROG_BYTES = 16;

const UNLISTED: Readonly<Record<SeccompMode, number>> = {
  trap: SeccompAction.TRAP,
  log: SeccompAction.LOG,
  errno: failWith(Errno.EPERM),
};

/**
 * Confines the calling thread, or all threads there are, and those that they will start. Nothing takes a filter back: further ones
 * only add to what is denied.
 * @param program what `filterProgram` made
 * @throws SeccompError
 */
export function installFilter(program: string, mode: SeccompMode, scope: "thread" | "process"): void {
  const bytes = Uint8Array.fromBase64(program);
  const { address, size, u8, view } = mapAnonymous(FPROG_BYTES + bytes.length);
  u8.set(bytes, FPROG_BYTES);
  const end = FPROG_BYTES + bytes.length;
  for (let at = FPROG_BYTES; at < end; at += INSTRUCTION_BYTES)
    if (view.getUint16(at, true) === Op.JUMP_EQUAL && view.getUint32(at + 4, true) === THIS_PROCESS)
      view.setUint32(at + 4, process.pid, true);
  const patch = (instruction: number, action: number): void =>
    view.setUint32(end + instruction * INSTRUCTION_BYTES + 4, action, true);
  patch(MODE_INSTRUCTIONS.unlisted, UNLISTED[mode]);
  patch(MODE_INSTRUCTIONS.refused, mode === "log" ? SeccompAction.LOG : failWith(Errno.EACCES));
  view.setUint16(0, bytes.length / INSTRUCTION_BYTES, true);
  view.setBigUint64(8, BigInt(address + FPROG_BYTES), true);
  try {
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)");
    const flags = scope === "process" ? FILTER_ALL_THREADS : 0;
    const result = libc.syscall(Sys.seccomp, SECCOMP_SET_MODE_FILTER, flags, address, 0, 0, 0);
    if (result < 0) throw new SysError(errno(), "seccomp(SECCOMP_SET_MODE_FILTER)");
    if (result > 0) throw new Error(`thread ${result} has a filter of its own already`);
  } catch (cause) {
    throw new SeccompError(
      "cannot install a seccomp filter: the kernel needs CONFIG_SECCOMP_FILTER, or use --seccomp false",
      {
        cause,
      },
    );
  } finally {
    munmap(address, size);
  }
}
