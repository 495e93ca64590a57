import { failWith, SeccompAction } from "./actions.ts";
import { BackwardAssembler, type Instruction, Op, type Place, SeccompData } from "./bpf.ts";
import type { ArgumentTest, Policy, Rule } from "./policy.ts";

/** AUDIT_ARCH_* (linux/audit.h): what a system call says of the ABI it was made by. */
const AUDIT_ARCH = { x86_64: 0xc000_003e, aarch64: 0xc000_00b7 } as const;
export type FilterArch = keyof typeof AUDIT_ARCH;

/** From here on numbers are system calls of the x32 ABI (asm/unistd.h, __X32_SYSCALL_BIT); nothing has any beyond either. */
const FOREIGN_NUMBERS = 0x4000_0000;
/** Up to so many values are compared one after the other. */
const FEW = 3;

/** System call numbers from `first` on, to the next range's, which all go to the same place. */
interface Range {
  readonly first: number;
  readonly place: Place;
}

/**
 * Compiles what a thread may do into a filter. It refuses other ABIs, finds the number among the ranges of equal treatment by
 * binary search, and then compares arguments where the policy says so.
 *
 * The last two instructions are placeholders (`MODE_INSTRUCTIONS`), which end the process.
 */
export function compileFilter(policy: Policy, arch: FilterArch): Instruction[] {
  const code = new BackwardAssembler();
  const unlisted = code.return(SeccompAction.KILL_PROCESS);
  const refused = code.return(SeccompAction.KILL_PROCESS);
  const kill = code.return(SeccompAction.KILL_PROCESS);
  const allow = code.return(SeccompAction.ALLOW);
  const failures = new Map<number, Place>();
  const outcomePlace = ({ outcome }: Rule): Place => {
    if (outcome === "allow") return allow;
    if (outcome === "refuse") return refused;
    const place = failures.get(outcome.errno) ?? code.return(failWith(outcome.errno));
    failures.set(outcome.errno, place);
    return place;
  };

  const places = new Map<number, Place>();
  for (const [number, rules] of policy)
    places.set(
      number,
      inOrderOfEffect(rules).reduceRight<Place>(
        (otherwise, rule) => writeRule(code, rule.tests, outcomePlace(rule), otherwise),
        unlisted,
      ),
    );

  const search = writeSearch(code, rangesOf(places, unlisted));
  code.jump(search);
  code.branch(Op.JUMP_NOT_LESS, FOREIGN_NUMBERS, kill, code.here);
  code.load(SeccompData.NR);
  code.branch(Op.JUMP_EQUAL, AUDIT_ARCH[arch], code.here, kill);
  code.load(SeccompData.ARCH);
  return code.program();
}

/** What is allowed goes before what is not, and one with conditions before one without. */
function inOrderOfEffect(rules: readonly Rule[]): Rule[] {
  const allowed = rules.filter(({ outcome }) => outcome === "allow");
  const always = allowed.find(({ tests }) => tests.length === 0);
  if (always !== undefined) return [always];
  const others = rules.filter(({ outcome }) => outcome !== "allow");
  return [...joined(allowed), ...others.toSorted((a, b) => b.tests.length - a.tests.length)];
}

/** Makes one rule of those that allow different values of the same argument. */
function joined(allowed: readonly Rule[]): Rule[] {
  const rules: Rule[] = [];
  for (const rule of allowed) {
    const [test, ...more] = rule.tests;
    const like = rules.findIndex(
      ({ tests }) => tests.length === 1 && tests[0]?.index === test?.index && tests[0]?.mask === test?.mask,
    );
    const found = rules[like]?.tests[0];
    if (test === undefined || more.length > 0 || found === undefined) rules.push(rule);
    else {
      const values = [...new Set([...found.values, ...test.values])];
      rules[like] = { tests: [{ ...found, values }], outcome: "allow" };
    }
  }
  return rules;
}

function rangesOf(places: ReadonlyMap<number, Place>, unlisted: Place): Range[] {
  const ranges: Range[] = [];
  const add = (first: number, place: Place): void => {
    if (ranges.at(-1)?.first === first) ranges.pop();
    if (ranges.at(-1)?.place !== place) ranges.push({ first, place });
  };
  add(0, unlisted);
  for (const [number, place] of [...places].toSorted(([a], [b]) => a - b)) {
    add(number, place);
    add(number + 1, unlisted);
  }
  return ranges;
}

/** Finds the range of the loaded number. */
function writeSearch(code: BackwardAssembler, ranges: readonly Range[]): Place {
  const middle = ranges.length >> 1;
  const pivot = ranges[middle];
  if (pivot === undefined) throw new Error("a filter has at least one range");
  if (ranges.length === 1) return pivot.place;
  const above = writeSearch(code, ranges.slice(middle));
  const below = writeSearch(code, ranges.slice(0, middle));
  return code.branch(Op.JUMP_NOT_LESS, pivot.first, above, below);
}

/** Goes to `yes` when all tests hold, and to `no` otherwise. */
function writeRule(code: BackwardAssembler, tests: readonly ArgumentTest[], yes: Place, no: Place): Place {
  return tests.reduceRight<Place>((hold, { index, mask, values }) => {
    writeMembership(
      code,
      values.toSorted((a, b) => a - b),
      hold,
      no,
    );
    if (mask !== 0xffff_ffff) code.and(mask);
    return code.load(SeccompData.args(index));
  }, yes);
}

/** Whether what was loaded is one of the values, in ascending order. */
function writeMembership(code: BackwardAssembler, values: readonly number[], yes: Place, no: Place): Place {
  if (values.length <= FEW)
    return values.reduceRight<Place>((next, value) => code.branch(Op.JUMP_EQUAL, value, yes, next), no);
  const middle = values.length >> 1;
  const above = writeMembership(code, values.slice(middle), yes, no);
  const below = writeMembership(code, values.slice(0, middle), yes, no);
  return code.branch(Op.JUMP_NOT_LESS, values[middle] ?? 0, above, below);
}
