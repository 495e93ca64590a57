import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs";
import { errnoName } from "../../../host/errno.ts";
import { BootFileError, type BootFileRole } from "./errors.ts";
import type { ImageBytes } from "./image-bytes.ts";

/** What to do about the commonest reasons. */
const ADVICE: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  ENOTDIR: "a part of the path is not a directory",
  EACCES: "permission denied, make it readable for the user that runs the VMM",
  EPERM: "permission denied, make it readable for the user that runs the VMM",
  ELOOP: "too many symbolic links",
  ENXIO: "it is a socket or a device that is not there, not a file",
};

/** A kernel, firmware or initramfs file, open for reading at any position. Only regular files are. */
export class BootFile implements ImageBytes, Disposable {
  readonly path: string;
  readonly role: BootFileRole;
  readonly fd: number;
  /** Bytes, when it was opened. */
  readonly size: number;

  /** @throws BootFileError saying what to do */
  constructor(path: string, role: BootFileRole) {
    this.path = path;
    this.role = role;
    if (path === "") throw this.#error(`the path of the ${role} is empty: give --${role} a file`);
    try {
      // A FIFO without a writer must not keep us waiting, and a terminal must not become ours.
      this.fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    } catch (cause) {
      throw this.#error(`cannot open the ${role} ${path}: ${reason(cause)}; check --${role}`, cause);
    }
    try {
      const stat = fstatSync(this.fd);
      if (!stat.isFile()) {
        const kind = stat.isDirectory() ? "a directory" : stat.isFIFO() ? "a FIFO" : "not a regular file";
        throw this.#error(`the ${role} ${path} is ${kind}: give --${role} a file`);
      }
      this.size = stat.size;
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  read(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    this.readInto(offset, bytes);
    return bytes;
  }

  /** Fills `into` from the file's bytes at `offset`. @throws BootFileError */
  readInto(offset: number, into: Uint8Array): void {
    for (let done = 0; done < into.length; ) {
      const got = this.#readSome(offset + done, into.subarray(done));
      if (got === 0) throw this.#error(`the ${this.role} ${this.path} became shorter while it was read`);
      done += got;
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }

  #readSome(offset: number, into: Uint8Array): number {
    try {
      return readSync(this.fd, into, 0, into.length, offset);
    } catch (cause) {
      throw this.#error(`cannot read the ${this.role} ${this.path}: ${reason(cause)}`, cause);
    }
  }

  #error(message: string, cause?: unknown): BootFileError {
    return new BootFileError(message, cause === undefined ? undefined : { cause });
  }
}

function reason(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  const { code, errno } = cause as Error & { code?: string; errno?: number };
  return ADVICE[code ?? ""] ?? (errno === undefined ? cause.message : errnoName(Math.abs(errno)));
}
