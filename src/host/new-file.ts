import { closeSync, constants, fsyncSync, openSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { Errno, SysError } from "./errno.ts";
import { check, errno, libc } from "./libc.ts";
import { cString, scratch } from "./scratch.ts";
import { Sys } from "./syscall-numbers.ts";

/** open(2), linux/fcntl.h: __O_TMPFILE, which node does not name, with O_DIRECTORY. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;
/** linux/fs.h: fails where the target exists. */
const RENAME_NOREPLACE = 1;
const MODE = 0o666;
/** What open(2) fails with where the file system or the kernel has no O_TMPFILE. */
const WITHOUT_O_TMPFILE = ["EOPNOTSUPP", "EISDIR", "EINVAL"];

/** A new file that has its name only when it is complete: a process that is killed meanwhile leaves nothing behind. */
export class NewFile {
  readonly #target: string;
  /** For reading and writing. */
  readonly fd: number;
  /** Its name for now, where the file system has no files without one. */
  #partial: string | undefined;

  /**
   * @param target the name that it is to get
   * @param unnamed whether to try a file without a name; tests turn it off
   * @throws Error of the system
   */
  constructor(target: string, unnamed = true) {
    this.#target = target;
    const fd = unnamed ? openUnnamed(dirname(target)) : undefined;
    this.#partial = fd === undefined ? `${target}.${process.pid}.partial` : undefined;
    this.fd = fd ?? openSync(this.#partial ?? target, "wx+", MODE);
  }

  /** A path under which this process can open the file again. */
  get path(): string {
    return `/proc/self/fd/${this.fd}`;
  }

  /** Gives a file that is durable its name, durably. @throws Error of the system, also when something has the name */
  publish(): void {
    const from = this.#partial ?? `/proc/self/fd/${this.fd}`;
    const flags = this.#partial === undefined ? AT_SYMLINK_FOLLOW : 0;
    if (atPaths(Sys.linkat, from, this.#target, flags) < 0) {
      // A file system without links to files can give a file another name.
      if (this.#partial === undefined || (errno() !== Errno.EPERM && errno() !== Errno.EOPNOTSUPP))
        throw new SysError(errno(), `name ${this.#target}`);
      check(atPaths(Sys.renameat2, from, this.#target, RENAME_NOREPLACE), `name ${this.#target}`);
      this.#partial = undefined;
    }
    const folder = openSync(dirname(this.#target), "r");
    try {
      fsyncSync(folder);
    } finally {
      closeSync(folder);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
    if (this.#partial !== undefined) unlinkSync(this.#partial);
  }
}

function openUnnamed(folder: string): number | undefined {
  try {
    return openSync(folder, constants.O_RDWR | O_TMPFILE, MODE);
  } catch (error) {
    if (error instanceof Error && "code" in error && WITHOUT_O_TMPFILE.includes(String(error.code))) return undefined;
    throw error;
  }
}

/** A system call of two paths. @returns negative when it fails @throws RangeError when they are too long */
function atPaths(call: number, from: string, to: string, flags: number): number {
  // The scratch block holds one string: the other one follows it.
  const source = cString(from);
  const { u8 } = scratch();
  const at = Buffer.byteLength(from) + 1;
  const path = Buffer.from(`${to}\0`);
  if (at + path.length > u8.length || to.includes("\0"))
    throw new RangeError(`a path of ${path.length} bytes is too long or has a NUL`);
  u8.set(path, at);
  return libc.syscall(call, AT_FDCWD, source, AT_FDCWD, source + at, flags, 0);
}
