import { check, libc } from "../libc.ts";
import { mapAnonymous, Prot } from "../mmap.ts";
import { scratch } from "../scratch.ts";

/** What the assembler makes of violation-handler.x86_64.s: position-independent, without data to write to. */
export const VIOLATION_HANDLER_X86_64 = [
  "fc4889f34881ecc00000004889e7488d35e8000000b927000000f3a48b431831c941b80a00000031d241f7f052ffc185",
  "c075f4580430aaffc975f8488d35e2000000b90b000000f3a48b431cb9080000004c8d0ddf000000c1c00489c283e20f",
  "418a1411881748ffc7ffc975eb488d35bb000000b908000000f3a44989fcb89d000000bf100000004c89e60f0541803c",
  "2400740549ffc4ebf441c604240a49ffc4b801000000bf020000004889e64c89e24829e20f0531c04889e7b904000000",
  "f348abb80d000000bf1f0000004889e631d241ba080000000f05b8270000000f054189c4b8ba0000000f054489e789c6",
  "ba1f000000b8ea0000000f05f450726f6261626c6520736563636f6d702076696f6c6174696f6e3a2073695f73797363",
  "616c6c3d2073695f617263683d3078207468726561643d30313233343536373839616263646566",
].join("");

const SIGSYS = 31;
const SA_SIGINFO = 0x4;
/** The handler ends the process by the same signal. */
const SA_NODEFER = 0x4000_0000;
/** glibc's struct sigaction: handler, mask, flags, restorer. */
const SIGACTION_BYTES = 152;
const SA_FLAGS = 136;

/**
 * From now on a system call that a filter traps is named on standard error, with its thread, before SIGSYS ends the process. Once
 * per process, before any filter.
 * @throws SysError
 */
export function installViolationHandler(): void {
  if (process.arch !== "x64") throw new Error(`no violation handler for ${process.arch}`);
  const code = Uint8Array.fromHex(VIOLATION_HANDLER_X86_64);
  const page = mapAnonymous(code.length);
  page.u8.set(code);
  check(libc.mprotect(page.address, page.size, Prot.READ | Prot.EXEC), "make the violation handler executable");
  const { view, address, u8 } = scratch();
  u8.fill(0, 0, SIGACTION_BYTES);
  view.setBigUint64(0, BigInt(page.address), true);
  view.setUint32(SA_FLAGS, SA_SIGINFO | SA_NODEFER, true);
  check(libc.sigaction(SIGSYS, address, 0), "sigaction of SIGSYS");
}
