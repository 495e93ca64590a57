import { Errno } from "./errno.ts";
import { onEveryThread, type SystemCall } from "./every-thread.ts";
import { check, libc } from "./libc.ts";
import { mapAnonymous, PAGE_SIZE } from "./mmap.ts";
import { Sys } from "./syscall-numbers.ts";

/** Capabilities that code here names (linux/capability.h). */
export const Capability = {
  DAC_OVERRIDE: 1,
  KILL: 5,
  SETGID: 6,
  SETUID: 7,
  SETPCAP: 8,
  NET_BIND_SERVICE: 10,
  NET_ADMIN: 12,
  IPC_LOCK: 14,
} as const;
export type CapabilityNumber = (typeof Capability)[keyof typeof Capability];

/** linux/prctl.h. */
const PR_SET_DUMPABLE = 4;
const PR_CAPBSET_READ = 23;
const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const RLIMIT_CORE = 4;
/** linux/capability.h: sets of 64 bits in two structures. */
const CAPABILITY_VERSION_3 = 0x20080522;
/** struct __user_cap_data_struct: effective, permitted, inheritable; one for each 32 capabilities. */
const CAP_DATA_BYTES = 12;
const MAX_CAPABILITIES = 64;

/** What each thread may never get, however it comes by it: privileges from a program that it runs. */
export const NO_NEW_PRIVILEGES: SystemCall = {
  number: Sys.prctl,
  args: [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0],
  what: "give up new privileges (PR_SET_NO_NEW_PRIVS)",
};

/**
 * Leaves this process with no more privileges than it needs: no capability but `kept`, where it has those at all, and none to be
 * had from a program that it runs; no other process of the same user may read its memory, and none of it goes into a core file.
 * @throws SysError, EveryThreadError
 */
export function dropPrivileges(kept: ReadonlySet<CapabilityNumber>): void {
  check(libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0), "make the process not dumpable");
  const memory = mapAnonymous(PAGE_SIZE);
  // struct rlimit64 {0, 0}: fresh memory is zero.
  check(libc.syscall(Sys.prlimit64, 0, RLIMIT_CORE, memory.address, 0, 0, 0), "limit core files to nothing");
  onEveryThread([NO_NEW_PRIVILEGES, ...capabilityCalls(kept)]);
}

/** The calls that take capabilities away; none for a process that has none. */
function capabilityCalls(kept: ReadonlySet<number>): SystemCall[] {
  // These stay: each thread is going to read them.
  const memory = mapAnonymous(PAGE_SIZE);
  const header = memory.sub(0, 8);
  const data = memory.sub(8, 2 * CAP_DATA_BYTES);
  header.u32[0] = CAPABILITY_VERSION_3;
  check(libc.syscall(Sys.capget, header.address, data.address, 0, 0, 0, 0), "read the capabilities");
  const { u32 } = data;
  if (u32.every((word) => word === 0)) return [];
  const mayDropBounds = hasBit(u32, 0, Capability.SETPCAP);
  const keptWords = [0, 0];
  for (const capability of kept)
    keptWords[capability >> 5] = (keptWords[capability >> 5] ?? 0) | (1 << (capability & 31));
  for (let word = 0; word < u32.length; word++) {
    const isInheritable = word % 3 === 2;
    u32[word] = isInheritable ? 0 : (u32[word] ?? 0) & (keptWords[Math.floor(word / 3)] ?? 0);
  }
  return [
    {
      number: Sys.prctl,
      args: [PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0],
      what: "clear ambient capabilities",
    },
    ...(mayDropBounds ? boundsToDrop(kept) : []),
    { number: Sys.capset, args: [header.address, data.address], what: "give up capabilities" },
  ];
}

/** Calls that keep programs run by root from getting capabilities back. */
function boundsToDrop(kept: ReadonlySet<number>): SystemCall[] {
  return Array.from({ length: MAX_CAPABILITIES }, (_, capability) => capability)
    .filter((capability) => !kept.has(capability) && libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) === 1)
    .map((capability) => ({
      number: Sys.prctl,
      args: [PR_CAPBSET_DROP, capability, 0, 0, 0],
      what: `drop capability ${capability}`,
      // Of a thread that started without the capability that this takes.
      doneErrno: Errno.EPERM,
    }));
}

/** @param word 0 for effective, 1 for permitted capabilities */
function hasBit(data: Uint32Array, word: number, capability: number): boolean {
  return ((data[word + 3 * (capability >> 5)] ?? 0) & (1 << (capability & 31))) !== 0;
}
