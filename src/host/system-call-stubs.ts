import { dlopen, FFIType, type Pointer, toArrayBuffer } from "bun:ffi";

/**
 * System calls as functions of machine code. They return what the kernel returns, a negated errno included: an errno that is to be
 * read from memory after the call may be another one's by then, since a thread that comes back to JavaScript first does what
 * was asked of it meanwhile, such as to collect garbage, and that makes system calls of its own.
 */

/** A function a system call: moves the fourth argument to where the kernel looks for it. */
// biome-ignore format: one instruction a line
const stubOf = (number: number): readonly number[] => [
  0xb8, number & 0xff, number >> 8, 0, 0, // mov eax, number
  0x49, 0x89, 0xca, //                       mov r10, rcx
  0x0f, 0x05, //                             syscall
  0xc3, //                                   ret
];
/** Takes the number as its first argument, like syscall(2). */
// biome-ignore format: one instruction a line
const ANY_CALL: readonly number[] = [
  0x48, 0x89, 0xf8, //             mov rax, rdi
  0x48, 0x89, 0xf7, //             mov rdi, rsi
  0x48, 0x89, 0xd6, //             mov rsi, rdx
  0x48, 0x89, 0xca, //             mov rdx, rcx
  0x4d, 0x89, 0xc2, //             mov r10, r8
  0x4d, 0x89, 0xc8, //             mov r8, r9
  0x4c, 0x8b, 0x4c, 0x24, 0x08, // mov r9, [rsp + 8]
  0x0f, 0x05, //                   syscall
  0xc3, //                         ret
];
const STUB_BYTES = 32;

const READ_WRITE = 1 | 2;
const READ_EXECUTE = 1 | 4;
const PRIVATE_ANONYMOUS = 0x02 | 0x20;

/** Tells a worker where its process has the code: it may not map executable memory itself. */
const ARGUMENT = "--system-call-stubs=";

function mapCode(numbers: readonly number[]): number {
  if (process.arch !== "x64") throw new Error(`system calls of ${process.arch} are not known`);
  const { symbols } = dlopen("libc.so.6", {
    mmap: { args: ["u64", "u64", "i32", "i32", "i32", "i64"], returns: FFIType.i64_fast },
    mprotect: { args: ["u64", "u64", "i32"], returns: "i32" },
  });
  const bytes = (numbers.length + 1) * STUB_BYTES;
  const address = Number(symbols.mmap(0, bytes, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0));
  if (address < 0) throw new Error(`no memory for ${bytes} bytes of code`);
  const code = new Uint8Array(toArrayBuffer(address as Pointer, 0, bytes));
  [ANY_CALL, ...numbers.map(stubOf)].forEach((stub, i) => {
    code.set(stub, i * STUB_BYTES);
  });
  if (symbols.mprotect(address, bytes, READ_EXECUTE) !== 0)
    throw new Error("this process may not make memory executable: system calls need 4 KiB of it");
  return address;
}

/** The code's address: a process has it once, whichever thread asks. */
function codeAddress(numbers: readonly number[]): number {
  const given = Bun.isMainThread ? undefined : process.argv.findLast((argument) => argument.startsWith(ARGUMENT));
  return given === undefined ? mapCode(numbers) : Number(given.slice(ARGUMENT.length));
}

/** The functions' addresses. */
export interface SystemCallStubs {
  /** Of a function that takes the number first. */
  readonly byNumber: Pointer;
  /** Of the function for the number at an index of those asked for. */
  readonly each: (index: number) => Pointer;
  /** What workers are to be started with, to share the code. */
  readonly workerArguments: readonly string[];
}

/** @param numbers of the system calls that get functions of their own; the same on all threads of a process */
export function systemCallStubs(numbers: readonly number[]): SystemCallStubs {
  const address = codeAddress(numbers);
  return {
    byNumber: address as Pointer,
    each: (index) => (address + (index + 1) * STUB_BYTES) as Pointer,
    workerArguments: [`${ARGUMENT}${address}`],
  };
}
