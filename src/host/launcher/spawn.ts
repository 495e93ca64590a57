import { type Pointer, read } from "bun:ffi";
import { SysError } from "../errno.ts";
import { bindLibc, check, libc } from "../libc.ts";
import type { MemoryBlock } from "../memory-block.ts";
import { mapAnonymous, mapForThread, munmap } from "../mmap.ts";
import { openPidFd } from "../process.ts";
import { cString } from "../scratch.ts";
import { NOWHERE } from "./protocol.ts";

/** spawn.h, sys/wait.h, dlfcn.h */
const c = bindLibc({
  posix_spawnp: { args: ["u64", "u64", "u64", "u64", "u64", "u64"], returns: "i32" },
  posix_spawn_file_actions_init: { args: ["u64"], returns: "i32" },
  posix_spawn_file_actions_destroy: { args: ["u64"], returns: "i32" },
  posix_spawn_file_actions_adddup2: { args: ["u64", "i32", "i32"], returns: "i32" },
  posix_spawn_file_actions_addopen: { args: ["u64", "i32", "u64", "i32", "u32"], returns: "i32" },
  posix_spawnattr_init: { args: ["u64"], returns: "i32" },
  posix_spawnattr_setflags: { args: ["u64", "i32"], returns: "i32" },
  posix_spawnattr_setsigdefault: { args: ["u64", "u64"], returns: "i32" },
  waitpid: { args: ["i32", "u64", "i32"], returns: "i32" },
});

const POSIX_SPAWN_SETSIGDEF = 0x04;
const POSIX_SPAWN_SETSIGMASK = 0x08;
const POSIX_SPAWN_SETSID = 0x80;
/** Of posix_spawn_file_actions_t (80) and posix_spawnattr_t (336) in the C library of 64-bit Linux, generously. */
const OPAQUE_BYTES = 512;
const SIGSET_BYTES = 128;
const O_RDWR = 2;
const F_DUPFD_CLOEXEC = 1030;
/** Above every number that a program's streams have. */
const ASIDE = 64;
const WNOHANG = 1;
const RTLD_DEFAULT = 0;
const POINTER_BYTES = 8;

export interface SpawnRequest {
  /** A path, or a name that is looked for in PATH. */
  readonly file: string;
  readonly argv: readonly string[];
  /** The program's descriptors, from 0; NOWHERE for what goes nowhere. */
  readonly streams: readonly number[];
}

/** A child of this process that has not been reaped. */
export interface Spawned {
  readonly pid: number;
  /** Close-on-exec, the caller's to close. */
  readonly pidFd: number;
}

const encoder = new TextEncoder();

/** C strings one after the other behind pointers to them, with a null pointer behind each group. The caller unmaps them. */
class Strings {
  readonly block: MemoryBlock;
  /** The address of each string. */
  readonly pointers: readonly number[];
  readonly #groups: readonly number[];

  constructor(groups: readonly (readonly string[])[]) {
    const texts = groups.map((group) => group.map((text) => encoder.encode(text)));
    const pointerBytes = texts.reduce((sum, group) => sum + (group.length + 1) * POINTER_BYTES, 0);
    const textBytes = texts.flat().reduce((sum, text) => sum + text.length + 1, 0);
    this.block = mapAnonymous(pointerBytes + textBytes);
    const { u8, view, address } = this.block;
    const pointers: number[] = [];
    const starts: number[] = [];
    let pointerAt = 0;
    let textAt = pointerBytes;
    for (const group of texts) {
      starts.push(address + pointerAt);
      for (const text of group) {
        u8.set(text, textAt);
        view.setBigUint64(pointerAt, BigInt(address + textAt), true);
        pointers.push(address + textAt);
        textAt += text.length + 1;
        pointerAt += POINTER_BYTES;
      }
      pointerAt += POINTER_BYTES;
    }
    this.pointers = pointers;
    this.#groups = starts;
  }

  /** The address of a group's pointers. */
  group(index: number): number {
    const address = this.#groups[index];
    if (address === undefined) throw new RangeError(`no group ${index} of strings`);
    return address;
  }
}

/** Functions of this family return their errno. */
function must(result: number, what: string): void {
  if (result !== 0) throw new SysError(result, what);
}

const memory = mapForThread(3 * OPAQUE_BYTES + SIGSET_BYTES);
const ACTIONS = memory.address;
const ATTRIBUTES = ACTIONS + OPAQUE_BYTES;
const ALL_SIGNALS = memory.sub(2 * OPAQUE_BYTES, SIGSET_BYTES);
const RESULT = memory.sub(3 * OPAQUE_BYTES, 8);
ALL_SIGNALS.u8.fill(0xff);

/**
 * Starts a program in a session of its own, with the environment and the working directory of this process, no signal blocked
 * or ignored, and no descriptors but its streams and those of this process that are not close-on-exec.
 * @throws SysError as exec gives it
 */
export function spawn({ file, argv, streams }: SpawnRequest): Spawned {
  const strings = new Strings([[file], ["/dev/null"], argv]);
  // Out of the way of the numbers that they are to be copied to.
  const aside = new Map<number, number>();
  try {
    for (const fd of streams) if (fd !== NOWHERE && !aside.has(fd)) aside.set(fd, duplicate(fd, ASIDE));
    const [fileAddress = 0, nowhere = 0] = strings.pointers;
    const what = `start ${file}`;
    must(c.posix_spawn_file_actions_init(ACTIONS), what);
    try {
      for (const [fd, source] of streams.map((stream) => aside.get(stream)).entries())
        must(
          source === undefined
            ? c.posix_spawn_file_actions_addopen(ACTIONS, fd, nowhere, O_RDWR, 0)
            : c.posix_spawn_file_actions_adddup2(ACTIONS, source, fd),
          what,
        );
      setAttributes(what);
      const argvAddress = strings.group(2);
      must(c.posix_spawnp(RESULT.address, fileAddress, ACTIONS, ATTRIBUTES, argvAddress, environment()), what);
    } finally {
      c.posix_spawn_file_actions_destroy(ACTIONS);
    }
    return withPidFd(RESULT.view.getInt32(0, true));
  } finally {
    for (const fd of aside.values()) libc.close(fd);
    munmap(strings.block.address, strings.block.size);
  }
}

/** Another descriptor of the same file, close-on-exec, of `from` or above. @throws SysError */
export function duplicate(fd: number, from = 0): number {
  return check(libc.fcntl(fd, F_DUPFD_CLOEXEC, from), `duplicate descriptor ${fd}`);
}

function setAttributes(what: string): void {
  must(c.posix_spawnattr_init(ATTRIBUTES), what);
  // What this process ignores would stay ignored; the mask of an initialized attribute is empty.
  must(c.posix_spawnattr_setsigdefault(ATTRIBUTES, ALL_SIGNALS.address), what);
  const flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID;
  must(c.posix_spawnattr_setflags(ATTRIBUTES, flags), what);
}

/** Nobody else reaps the child, so its id cannot have become another's. */
function withPidFd(pid: number): Spawned {
  try {
    return { pid, pidFd: openPidFd(pid) };
  } catch (error) {
    process.kill(pid, "SIGKILL");
    c.waitpid(pid, RESULT.address, 0);
    throw error;
  }
}

/** Reaps a child that has ended. @returns its status as wait(2) gives it; undefined while it runs */
export function reap(pid: number): number | undefined {
  const reaped = c.waitpid(pid, RESULT.address, WNOHANG);
  return reaped === pid ? RESULT.view.getUint32(0, true) : undefined;
}

/** The address of this process's environment. */
function environment(): number {
  const variable = libc.dlsym(RTLD_DEFAULT, cString("environ"));
  if (variable === 0) throw new Error("the C library has no symbol environ");
  return read.ptr(variable as Pointer, 0);
}
