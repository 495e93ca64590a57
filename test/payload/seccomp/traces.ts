import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** A system call of a thread that had filters by then. */
export interface TracedCall {
  readonly pid: number;
  readonly name: string;
  /** Low 32 bits of its arguments; undefined where strace prints no number. */
  readonly args: readonly (number | undefined)[];
  /** Instructions of each filter that the thread had. */
  readonly filters: readonly number[];
  readonly line: string;
}

/** A line of strace -ttt: `time name(args) = result`. */
const CALL = /^(\d+\.\d+) (\w+)\((.*)/;
const FILTER = /^(0x1|1), (0x[01]|[01]), \{len=(\d+),.*\) = 0$/;
const MADE_THREAD = /^(?:clone|clone3|fork|vfork)\(.*\) = (\d+)$/;
const CLONE_THREAD = 0x1_0000;

interface Call {
  readonly at: number;
  readonly name: string;
  readonly rest: string;
}

interface Thread {
  readonly calls: readonly Call[];
  /** Who started it; none of the first of a process. */
  parent?: { readonly tid: number; readonly at: number };
  /** Filters by the moment from which on they hold, as far as they are its own or were given to all threads. */
  readonly taken: { readonly at: number; readonly instructions: number }[];
}

/** All system calls under filters in the folder of one run of traced-vmm. */
export function* filteredCalls(folder: string): Generator<TracedCall> {
  const threads = new Map<number, Thread>();
  for (const file of readdirSync(folder))
    threads.set(Number(file.split(".")[1]), { calls: callsIn(join(folder, file)), taken: [] });
  for (const [tid, thread] of threads) readBirths(tid, thread, threads);
  for (const [tid, thread] of threads) readFilters(tid, thread, threads);
  for (const [tid, thread] of threads) {
    const pid = processOf(tid, threads);
    let inherited = filtersOf(thread.parent, threads);
    const waiting = thread.taken.toSorted((a, b) => a.at - b.at);
    for (const { at, name, rest } of thread.calls) {
      while (waiting[0] !== undefined && waiting[0].at < at)
        inherited = [...inherited, waiting.shift()?.instructions ?? 0];
      if (inherited.length > 0)
        yield { pid, name, args: argumentsOf(name, rest), filters: inherited, line: `${name}(${rest}` };
    }
  }
}

function callsIn(path: string): Call[] {
  return readFileSync(path, "latin1")
    .split("\n")
    .flatMap((line) => {
      const [, at, name = "", rest = ""] = CALL.exec(line) ?? [];
      return at === undefined ? [] : [{ at: Number(at), name, rest }];
    });
}

function readBirths(tid: number, { calls }: Thread, threads: ReadonlyMap<number, Thread>): void {
  for (const { at, name, rest } of calls) {
    const born = threads.get(Number(MADE_THREAD.exec(`${name}(${rest}`)?.[1]));
    const flags = Number(/\bflags=(0x[0-9a-f]+|\d+)/.exec(rest)?.[1] ?? 0);
    if (born !== undefined && (flags & CLONE_THREAD) !== 0) born.parent = { tid, at };
  }
}

function readFilters(tid: number, { calls, taken }: Thread, threads: ReadonlyMap<number, Thread>): void {
  for (const { at, name, rest } of calls) {
    const [, , flags, length] = (name === "seccomp" && FILTER.exec(rest)) || [];
    if (length === undefined) continue;
    const filter = { at, instructions: Number(length) };
    taken.push(filter);
    if (Number(flags) === 0) continue;
    // For all threads there are: later ones inherit it.
    const process = processOf(tid, threads);
    for (const [other, thread] of threads)
      if (other !== tid && processOf(other, threads) === process && (thread.parent?.at ?? 0) < at)
        thread.taken.push(filter);
  }
}

function processOf(tid: number, threads: ReadonlyMap<number, Thread>): number {
  const parent = threads.get(tid)?.parent;
  return parent === undefined ? tid : processOf(parent.tid, threads);
}

/** What a thread has that was started then. */
function filtersOf(birth: Thread["parent"], threads: ReadonlyMap<number, Thread>): number[] {
  const parent = birth === undefined ? undefined : threads.get(birth.tid);
  if (birth === undefined || parent === undefined) return [];
  const own = parent.taken.filter(({ at }) => at < birth.at).map(({ instructions }) => instructions);
  return [...filtersOf(parent.parent, threads), ...own];
}

function argumentsOf(name: string, rest: string): (number | undefined)[] {
  // strace puts the flags second.
  if (name === "clone") return [numberOf(/\bflags=(\w+)/.exec(rest)?.[1] ?? "")];
  const args: string[] = [""];
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < rest.length && depth >= 0; i++) {
    const c = rest.charAt(i);
    if (quoted && c === "\\") i++;
    else if (c === '"') quoted = !quoted;
    else if (!quoted && "([{".includes(c)) depth++;
    else if (!quoted && ")]}".includes(c)) depth--;
    if (c === "," && depth === 0 && !quoted) args.push("");
    else args.push(`${args.pop() ?? ""}${c}`);
  }
  return args.map((text) => numberOf(text.trim()));
}

function numberOf(text: string): number | undefined {
  if (text.startsWith("NULL")) return 0;
  const [number] = /^-?(0x[0-9a-f]+|\d+)/.exec(text) ?? [];
  return number === undefined
    ? undefined
    : Number(BigInt.asUintN(32, BigInt(number.replace("-", ""))) * (number.startsWith("-") ? -1n : 1n)) >>> 0;
}
