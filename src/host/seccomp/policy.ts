/**
 * What threads may do, as it is written in `seccomp/<arch>/<thread>.json` for people who audit it. Names stand for numbers:
 * those of system calls are in syscalls.json beside it, all others in constants.json.
 */

/** A name in constants.json, "THIS_PROCESS", or a number. */
type Value = string | number;

/** What the low 32 bits of an argument must be: one of some values, after a mask (names or-ed together) if there is one. */
type Condition = readonly Value[] | { readonly mask: readonly Value[]; readonly is: readonly Value[] };

/** One or several system calls, and under which conditions. A system call may have several rules: one has to hold. */
export interface RuleText {
  readonly syscall: string | readonly string[];
  /** By number of the argument, 0 to 5. All have to hold. */
  readonly args?: Readonly<Record<string, Condition>>;
  /** What happens in place of the call. */
  readonly instead?: Consequence;
  /** Why the thread needs it. */
  readonly why: string;
  /** No test makes these calls: `why` says when they are made. */
  readonly untested?: true;
}

/** `answer`: the call always fails so, for the caller has another way. `refuse`: it fails so unless violations are only logged. */
export type Consequence = { readonly answer: string } | { readonly refuse: string };

/** A file of rules. */
export interface PolicyText {
  /** Which threads have it. */
  readonly threads: string;
  /** Files beside it whose rules hold as well. */
  readonly include?: readonly string[];
  readonly rules: readonly RuleText[];
}

/** The numbers behind the names of an architecture. */
export interface Numbers {
  readonly syscalls: Readonly<Record<string, number>>;
  readonly constants: Readonly<Record<string, number>>;
}

/** A condition in numbers. */
export interface ArgumentTest {
  readonly index: number;
  readonly mask: number;
  readonly values: readonly number[];
}

/** A rule in numbers. */
export interface Rule {
  readonly tests: readonly ArgumentTest[];
  readonly outcome: "allow" | "refuse" | { readonly errno: number };
}

/** All rules of a thread, by system call number. */
export type Policy = ReadonlyMap<number, readonly Rule[]>;

/** A policy that means nothing, or not what its writer thinks. */
export class PolicyError extends Error {
  override readonly name = "PolicyError";
}

/** Stands for the process's own number, which is not known before the filter is installed; no process has this one. */
export const THIS_PROCESS = 0xffff_fff0;

const ALL_BITS = 0xffff_ffff;
const MAX_ARGUMENT = 5;
/** The errno of quiet refusals: one for all, since they share an instruction. */
export const REFUSAL = "EACCES";

/**
 * Turns policies into numbers.
 * @param texts files whose rules hold together
 * @throws PolicyError naming what is wrong
 */
export function readPolicy(texts: readonly PolicyText[], numbers: Numbers): Policy {
  const policy = new Map<number, Rule[]>();
  for (const { threads, rules } of texts)
    for (const rule of rules) {
      const names = typeof rule.syscall === "string" ? [rule.syscall] : rule.syscall;
      if (rule.why.trim() === "") throw new PolicyError(`${threads}: ${names.join(", ")}: no reason is given`);
      for (const name of names) {
        const number = numbers.syscalls[name];
        if (number === undefined) throw new PolicyError(`${threads}: there is no system call ${name}`);
        const known = policy.get(number) ?? [];
        known.push(readRule(rule, `${threads}: ${name}`, numbers.constants));
        policy.set(number, known);
      }
    }
  return policy;
}

function readRule(rule: RuleText, where: string, constants: Numbers["constants"]): Rule {
  const number = (value: Value): number => {
    if (value === "THIS_PROCESS") return THIS_PROCESS;
    const found = typeof value === "number" ? value : constants[value];
    if (found === undefined || !Number.isInteger(found) || found < 0 || found > ALL_BITS)
      throw new PolicyError(`${where}: ${value} is no known constant of 32 bits`);
    return found;
  };
  const tests = Object.entries(rule.args ?? {}).map(([text, condition]): ArgumentTest => {
    const index = Number(text);
    if (!Number.isInteger(index) || index < 0 || index > MAX_ARGUMENT)
      throw new PolicyError(`${where}: there is no argument ${text}`);
    const [mask, values] = "mask" in condition ? [condition.mask, condition.is] : [undefined, condition];
    if (values.length === 0) throw new PolicyError(`${where}: argument ${text} can have no value`);
    const bits = mask === undefined ? ALL_BITS : mask.reduce<number>((all, value) => (all | number(value)) >>> 0, 0);
    const wanted = values.map(number);
    const impossible = wanted.find((value) => (value & ~bits) !== 0);
    if (impossible !== undefined) throw new PolicyError(`${where}: the mask of argument ${text} hides ${impossible}`);
    return { index, mask: bits, values: wanted };
  });
  return { tests, outcome: readOutcome(rule.instead, where, constants) };
}

function readOutcome(
  instead: Consequence | undefined,
  where: string,
  constants: Numbers["constants"],
): Rule["outcome"] {
  if (instead === undefined) return "allow";
  if ("refuse" in instead) {
    if (instead.refuse !== REFUSAL) throw new PolicyError(`${where}: calls are refused with ${REFUSAL} only`);
    return "refuse";
  }
  const errno = constants[instead.answer];
  if (errno === undefined) throw new PolicyError(`${where}: ${instead.answer} is no known errno`);
  return { errno };
}
