import { Errno } from "../../host/errno.ts";
import { errno, libc } from "../../host/libc.ts";
import { Madvise, PAGE_SIZE } from "../../host/mmap.ts";
import { cString } from "../../host/scratch.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";

/** Bytes of a request, which its response replaces. */
export const REQUEST_BYTES = 32;

const FunctionCode = {
  INFO: 0,
  DONTNEED: 1,
  REMOVE: 2,
  FREE: 3,
  PAGEOUT: 4,
  DONTDUMP: 5,
  SET_NAME: 6,
  MLOCK: 7,
  MUNLOCK: 8,
  MPROTECT_READ_WRITE: 12,
  MERGEABLE: 13,
  UNMERGEABLE: 14,
} as const;

const ADVICE: Readonly<Record<number, number>> = {
  [FunctionCode.DONTNEED]: Madvise.DONTNEED,
  [FunctionCode.REMOVE]: Madvise.REMOVE,
  [FunctionCode.FREE]: Madvise.FREE,
  [FunctionCode.PAGEOUT]: Madvise.PAGEOUT,
  [FunctionCode.DONTDUMP]: Madvise.DONTDUMP,
  [FunctionCode.MERGEABLE]: Madvise.MERGEABLE,
  [FunctionCode.UNMERGEABLE]: Madvise.UNMERGEABLE,
};

/** linux/prctl.h */
const PR_SET_VMA = 0x53564d41;
const PR_SET_VMA_ANON_NAME = 0;

/**
 * Requests for parts of a mapping split it, and a process has a limited number of mappings (vm.max_map_count, 65530 as a rule),
 * without which it cannot live. Each request makes two more at most.
 */
const MAX_SPLITS = 8192;

const MAJOR_VERSION = 1;

/** What a guest asks for. 64-bit values are exact to 2^53, larger for what no address or size can be. */
export interface MemoryRequest {
  readonly code: number;
  /** Its bits 31:0. */
  readonly codeLow: number;
  readonly gpa: number;
  readonly length: number;
  readonly argument: bigint;
}

/** What it is answered: an errno, 0 for success, and the code of a function that cannot be carried out. */
export interface MemoryResponse {
  readonly errno: number;
  readonly code: number;
  readonly value: number;
  readonly major: number;
}

/** The request at the start of `view`: four 64-bit words. */
export function requestAt(view: DataView): MemoryRequest {
  return {
    code: Number(view.getBigUint64(0, true)),
    codeLow: view.getUint32(0, true),
    gpa: Number(view.getBigUint64(8, true)),
    length: Number(view.getBigUint64(16, true)),
    argument: view.getBigUint64(24, true),
  };
}

/**
 * Carries out a request. Protection cannot be taken away from RAM: other devices of the machine reach it from this process,
 * which would not survive that.
 * @param countSplit counts a request that may split a mapping. @returns how many there were
 */
export function perform(ram: GuestMemory, request: MemoryRequest, countSplit: () => number): MemoryResponse {
  const { code, codeLow, gpa, length, argument } = request;
  if (code === FunctionCode.INFO) return { errno: 0, code: 0, value: PAGE_SIZE, major: MAJOR_VERSION };
  const advice = ADVICE[code];
  const known = advice !== undefined || code === FunctionCode.SET_NAME || code === FunctionCode.MPROTECT_READ_WRITE;
  if (!known && code !== FunctionCode.MLOCK && code !== FunctionCode.MUNLOCK) return failure(Errno.EOPNOTSUPP, codeLow);
  const hva = ram.hva(gpa, length);
  if (hva === 0) return failure(Errno.EINVAL, codeLow);
  if (code >= FunctionCode.DONTDUMP && code !== FunctionCode.MPROTECT_READ_WRITE && countSplit() > MAX_SPLITS)
    return failure(Errno.ENOMEM, 0);
  let result = 0;
  if (advice !== undefined) result = libc.madvise(hva, length, advice);
  else if (code === FunctionCode.MLOCK) result = libc.mlock(hva, length);
  else if (code === FunctionCode.MUNLOCK) result = libc.munlock(hva, length);
  else if (code === FunctionCode.SET_NAME) {
    const name = argument === 0n ? 0 : cString(`pvmemcontrol-${argument}`);
    result = libc.prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, hva, length, name);
  }
  return result < 0 ? failure(errno(), 0) : failure(0, 0);
}

const failure = (error: number, code: number): MemoryResponse => ({
  errno: error,
  code: code >>> 0,
  value: 0,
  major: 0,
});
