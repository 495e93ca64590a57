import { fstatSync } from "node:fs";
import { Errno, SysError } from "./errno.ts";
import { onEveryThread } from "./every-thread.ts";
import { check, errno, libc } from "./libc.ts";
import type { MemoryBlock } from "./memory-block.ts";
import { mapAnonymous, munmap, PAGE_SIZE } from "./mmap.ts";
import { cString } from "./scratch.ts";
import { Sys } from "./syscall-numbers.ts";

/** What a domain can deny a process to do with files (linux/landlock.h, LANDLOCK_ACCESS_FS_*). */
export const FsRight = {
  EXECUTE: 1 << 0,
  WRITE_FILE: 1 << 1,
  READ_FILE: 1 << 2,
  READ_DIR: 1 << 3,
  REMOVE_DIR: 1 << 4,
  REMOVE_FILE: 1 << 5,
  MAKE_CHAR: 1 << 6,
  MAKE_DIR: 1 << 7,
  MAKE_REG: 1 << 8,
  MAKE_SOCK: 1 << 9,
  MAKE_FIFO: 1 << 10,
  MAKE_BLOCK: 1 << 11,
  MAKE_SYM: 1 << 12,
  REFER: 1 << 13,
  TRUNCATE: 1 << 14,
  IOCTL_DEV: 1 << 15,
} as const;

/** Rights that a rule can give for something other than a directory. */
const FILE_RIGHTS = FsRight.EXECUTE | FsRight.WRITE_FILE | FsRight.READ_FILE | FsRight.TRUNCATE | FsRight.IOCTL_DEV;
/** LANDLOCK_ACCESS_NET_BIND_TCP and _CONNECT_TCP. */
const TCP_RIGHTS = 0b11;
/** LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET and _SIGNAL. */
const Scope = { ABSTRACT_UNIX_SOCKET: 1, SIGNAL: 2 } as const;

const CREATE_RULESET_VERSION = 1;
const CREATE_RULESET_ERRATA = 2;
const RULE_PATH_BENEATH = 1;
/** Threads of one process may signal each other across domains: each of ours gets a domain of its own. */
const ERRATUM_SIGNALS = 1 << 1;
/** struct landlock_ruleset_attr: rights of files, rights of TCP, scopes; 64 bits each. */
const RULESET_ATTR = { bytes: 24, fs: 0, net: 8, scoped: 16 } as const;
/** struct landlock_path_beneath_attr, packed: rights, descriptor. */
const RULE_ATTR = { bytes: 12, rights: 0, fd: 8 } as const;
/** O_PATH | O_CLOEXEC. */
const PATH_ONLY = 0o12000000;

/** A file, or a directory with all that is beneath it, and what may be done there: `FsRight` flags. */
export interface LandlockRule {
  readonly path: string;
  readonly rights: number;
  /** Keep the path's descriptor: where files come and go in the kernel's memory, as in /proc, a rule counts until it forgets one. */
  readonly pinned?: boolean;
}

/** What a domain denies, as far as the kernel knows how. */
export interface LandlockScope {
  /** Deny to listen at TCP ports and to connect to them. */
  readonly denyTcp: boolean;
  /** Deny to signal processes outside of the domain. */
  readonly denySignals: boolean;
}

/** Landlock cannot be used. The message says what to do. */
export class LandlockError extends Error {
  override readonly name = "LandlockError";
}

/** What each version of the kernel's interface brings (Documentation/userspace-api/landlock.rst). */
const SINCE: readonly { readonly abi: number; readonly what: string }[] = [
  { abi: 2, what: "to move files between directories that rules allow (any such move is denied)" },
  { abi: 3, what: "to deny truncation of files" },
  { abi: 4, what: "to deny TCP" },
  { abi: 5, what: "to deny ioctls of devices" },
  { abi: 6, what: "to deny signals and abstract sockets of other processes" },
];
/** All that code here knows of. */
export const NEWEST_ABI = 7;

/**
 * The version of the kernel's interface.
 * @throws LandlockError when there is no Landlock
 */
export function landlockAbi(): number {
  const abi = libc.syscall(Sys.landlock_create_ruleset, 0, 0, CREATE_RULESET_VERSION, 0, 0, 0);
  if (abi > 0) return abi;
  const isOff = errno() === Errno.EOPNOTSUPP;
  throw new LandlockError(
    isOff
      ? "Landlock is switched off: start the host's kernel with landlock in its parameter lsm="
      : "the host's kernel has no Landlock, which takes Linux 5.13 or newer built with CONFIG_SECURITY_LANDLOCK",
    { cause: new SysError(errno(), "ask for the version of Landlock") },
  );
}

/** Rights of files that a version of the interface can deny. */
export function rightsOf(abi: number): number {
  const all = 2 * FsRight.IOCTL_DEV - 1;
  if (abi >= 5) return all;
  if (abi >= 3) return all & ~FsRight.IOCTL_DEV;
  const first = FsRight.REFER - 1;
  return abi === 2 ? first | FsRight.REFER : first;
}

/** What a version of the interface lacks, for a warning; empty when nothing. */
export function missingIn(abi: number): readonly string[] {
  return SINCE.filter((feature) => abi < feature.abi).map(({ what }) => what);
}

/** What the struct landlock_ruleset_attr of a domain says. */
export function rulesetOf(abi: number, errata: number, { denyTcp, denySignals }: LandlockScope) {
  const signals = denySignals && (errata & ERRATUM_SIGNALS) !== 0 ? Scope.SIGNAL : 0;
  return {
    fs: rightsOf(abi),
    net: abi >= 4 && denyTcp ? TCP_RIGHTS : 0,
    scoped: abi >= 6 ? Scope.ABSTRACT_UNIX_SOCKET | signals : 0,
  };
}

/**
 * Puts all threads of this process, and those that they will start, into a domain: from now on they can open no file but those
 * that the rules allow. What is open stays so, and nothing undoes it. A rule whose path is not there allows nothing. The process
 * must have given up new privileges (`dropPrivileges`), and the rules must let it read /proc/self.
 * @throws LandlockError, SysError, EveryThreadError; threads may differ then
 */
export function restrictEveryThread(rules: readonly LandlockRule[], scope: LandlockScope): void {
  const abi = landlockAbi();
  const errata = libc.syscall(Sys.landlock_create_ruleset, 0, 0, CREATE_RULESET_ERRATA, 0, 0, 0);
  const { fs, net, scoped } = rulesetOf(abi, Math.max(0, errata), scope);
  const memory = mapAnonymous(PAGE_SIZE);
  const { view, address } = memory;
  view.setBigUint64(RULESET_ATTR.fs, BigInt(fs), true);
  view.setBigUint64(RULESET_ATTR.net, BigInt(net), true);
  view.setBigUint64(RULESET_ATTR.scoped, BigInt(scoped), true);
  // An older kernel takes a longer structure whose end is zero.
  const ruleset = check(
    libc.syscall(Sys.landlock_create_ruleset, address, RULESET_ATTR.bytes, 0, 0, 0, 0),
    "create a Landlock ruleset",
  );
  const pinned: number[] = [];
  try {
    for (const rule of rules) addRule(ruleset, rule, fs, memory, pinned);
    enter(ruleset);
  } catch (error) {
    for (const fd of pinned) libc.close(fd);
    throw error;
  } finally {
    libc.close(ruleset);
    munmap(address, PAGE_SIZE);
  }
}

/** @param pinned gets the descriptor of a rule whose file is to stay open */
function addRule(
  ruleset: number,
  rule: LandlockRule,
  handled: number,
  { view, address }: MemoryBlock,
  pinned: number[],
): void {
  const { path, rights } = rule;
  const fd = libc.open(cString(path), PATH_ONLY, 0);
  if (fd < 0) return;
  if (rule.pinned === true) pinned.push(fd);
  try {
    const allowed = rights & handled & (fstatSync(fd).isDirectory() ? handled : FILE_RIGHTS);
    if (allowed === 0) return;
    view.setBigUint64(RULE_ATTR.rights, BigInt(allowed), true);
    view.setInt32(RULE_ATTR.fd, fd, true);
    const added = libc.syscall(Sys.landlock_add_rule, ruleset, RULE_PATH_BENEATH, address, 0, 0, 0);
    check(added, `allow ${path} by a Landlock rule`);
  } finally {
    if (rule.pinned !== true) libc.close(fd);
  }
}

function enter(ruleset: number): void {
  try {
    onEveryThread([{ number: Sys.landlock_restrict_self, args: [ruleset, 0], what: "enter the Landlock domain" }]);
  } catch (cause) {
    if (!(cause instanceof SysError && cause.errno === Errno.E2BIG)) throw cause;
    throw new LandlockError("this process has restricted itself as often as the kernel lets it: start another VMM", {
      cause,
    });
  }
}
