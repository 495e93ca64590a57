import { closeSync, constants, fsyncSync, linkSync, openSync, unlinkSync } from "node:fs";
import { dirname } from "node:path";
import { check, libc } from "./libc.ts";
import { cString, scratch } from "./scratch.ts";
import { Sys } from "./syscall-numbers.ts";

/** open(2), linux/fcntl.h: __O_TMPFILE, which node does not name, with O_DIRECTORY. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
const AT_FDCWD = -100;
const AT_SYMLINK_FOLLOW = 0x400;
const MODE = 0o666;
/** What open(2) fails with where the file system or the kernel has no O_TMPFILE. */
const WITHOUT_O_TMPFILE = ["EOPNOTSUPP", "EISDIR", "EINVAL"];
/** More than the path of a descriptor takes. */
const SOURCE_BYTES = 64;

/** A new file that has its name only when it is complete: a process that is killed meanwhile leaves nothing behind. */
export class NewFile {
  readonly #target: string;
  /** For reading and writing. */
  readonly fd: number;
  /** Its name for now, where the file system has no files without one. */
  readonly #partial: string | undefined;

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
    if (this.#partial !== undefined) linkSync(this.#partial, this.#target);
    else linkDescriptor(this.fd, this.#target);
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

function linkDescriptor(fd: number, target: string): void {
  // The scratch block holds one string: the other one follows it.
  const source = cString(`/proc/self/fd/${fd}`);
  const { u8 } = scratch();
  const path = Buffer.from(`${target}\0`);
  if (SOURCE_BYTES + path.length > u8.length || target.includes("\0"))
    throw new RangeError(`a path of ${path.length} bytes is too long or has a NUL`);
  u8.set(path, SOURCE_BYTES);
  const destination = source + SOURCE_BYTES;
  check(libc.syscall(Sys.linkat, AT_FDCWD, source, AT_FDCWD, destination, AT_SYMLINK_FOLLOW, 0), `name ${target}`);
}
