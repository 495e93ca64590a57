import { describe, expect, test } from "bun:test";
import { failWith, MODE_INSTRUCTIONS, SeccompAction } from "../../../../src/host/seccomp/actions.ts";
import { type Instruction, Op } from "../../../../src/host/seccomp/bpf.ts";
import { compileFilter } from "../../../../src/host/seccomp/compile.ts";
import { policyNumbers, policyTexts } from "../../../../src/host/seccomp/filter-program.ts";
import { type Policy, type Rule, readPolicy } from "../../../../src/host/seccomp/policy.ts";
import { Random } from "../../random.ts";
import { runFilter } from "./bpf-machine.ts";

const X86_64 = 0xc000_003e;
/** Told apart from all other actions, as the mode's actions are when a program is installed. */
const REFUSED = failWith(4001);
const UNLISTED = failWith(4002);

function compiled(policy: Policy): Instruction[] {
  const program = compileFilter(policy, "x86_64");
  for (const [place, action] of [
    [MODE_INSTRUCTIONS.refused, REFUSED],
    [MODE_INSTRUCTIONS.unlisted, UNLISTED],
  ] as const) {
    expect(program.at(place)).toEqual({ code: Op.RETURN, jt: 0, jf: 0, k: SeccompAction.KILL_PROCESS });
    program[program.length + place] = { code: Op.RETURN, jt: 0, jf: 0, k: action };
  }
  return program;
}

/** What a policy says of a call, found without a filter. */
function expected(policy: Policy, nr: number, args: readonly bigint[]): number {
  const holds = ({ tests }: Rule): boolean =>
    tests.every(({ index, mask, values }) => values.includes(Number((args[index] ?? 0n) & BigInt(mask))));
  const rules = (policy.get(nr) ?? []).filter(holds);
  if (rules.some(({ outcome }) => outcome === "allow")) return SeccompAction.ALLOW;
  const others = rules.toSorted((a, b) => b.tests.length - a.tests.length);
  const outcome = others[0]?.outcome;
  if (outcome === undefined) return UNLISTED;
  return outcome === "refuse" ? REFUSED : failWith(typeof outcome === "string" ? 0 : outcome.errno);
}

const ALLOW: Rule = { tests: [], outcome: "allow" };
const allowIf = (index: number, values: readonly number[], mask = 0xffff_ffff): Rule => ({
  tests: [{ index, mask, values }],
  outcome: "allow",
});

test("a policy without rules allows nothing", () => {
  const program = compiled(new Map());
  for (const nr of [0, 1, 1000, 0x3fff_ffff]) expect(runFilter(program, { arch: X86_64, nr }).action).toBe(UNLISTED);
});

test.each([
  ["of the 32-bit ABI", 0x4000_0003, 3],
  ["of AArch64", 0xc000_00b7, 3],
  ["of no ABI", 0, 3],
  ["with an x32 number", X86_64, 0x4000_0003],
  ["with a number beyond all ABIs", X86_64, 0xffff_ffff],
])("a call %s ends the process, whatever the mode", (_, arch, nr) => {
  const program = compiled(new Map([[3, [ALLOW]]]));
  expect(runFilter(program, { arch: X86_64, nr: 3 }).action).toBe(SeccompAction.ALLOW);
  expect(runFilter(program, { arch, nr }).action).toBe(SeccompAction.KILL_PROCESS);
});

test("only the low half of an argument counts, as in the kernel's own comparison of ioctl requests", () => {
  const program = compiled(new Map([[16, [allowIf(1, [0xae80])]]]));
  const ask = (request: bigint): number => runFilter(program, { arch: X86_64, nr: 16, args: [3n, request] }).action;
  expect(ask(0xae80n)).toBe(SeccompAction.ALLOW);
  expect(ask(0xdead_0000_ae80n)).toBe(SeccompAction.ALLOW);
  expect(ask(0xae81n)).toBe(UNLISTED);
});

test("a rule without conditions allows what others of the same call would refuse", () => {
  const refuse: Rule = { tests: [], outcome: "refuse" };
  const program = compiled(
    new Map([
      [257, [refuse, ALLOW]],
      [2, [refuse]],
    ]),
  );
  expect(runFilter(program, { arch: X86_64, nr: 257 }).action).toBe(SeccompAction.ALLOW);
  expect(runFilter(program, { arch: X86_64, nr: 2 }).action).toBe(REFUSED);
});

test("random policies are compiled to what they say", () => {
  const random = new Random(0x5ecc);
  for (let round = 0; round < 300; round++) {
    const policy = new Map<number, Rule[]>();
    const span = 1 + random.below(460);
    for (let i = random.below(80); i > 0; i--) {
      const rules = Array.from({ length: 1 + random.below(4) }, (): Rule => {
        const mask = random.below(2) === 0 ? 0xffff_ffff : random.below(0x1_0000_0000);
        const tests = Array.from({ length: random.below(3) }, () => ({
          index: random.below(6),
          mask,
          values: Array.from({ length: 1 + random.below(16) }, () => (random.below(64) & mask) >>> 0),
        }));
        const kind = random.below(6);
        return { tests, outcome: kind === 0 ? "refuse" : kind === 1 ? { errno: 38 } : "allow" };
      });
      // Rules that say different things with as many conditions have no order.
      const others = rules.filter(({ outcome }) => outcome !== "allow").slice(0, 1);
      policy.set(random.below(span), [...rules.filter(({ outcome }) => outcome === "allow"), ...others]);
    }
    const program = compiled(policy);
    for (let nr = 0; nr < span + 2; nr++) {
      const args = Array.from({ length: 6 }, () => (BigInt(random.below(2)) << 32n) | BigInt(random.below(64)));
      expect(runFilter(program, { arch: X86_64, nr, args }).action).toBe(expected(policy, nr, args));
    }
  }
});

describe.each(["vmm", "vcpu", "block", "net", "io", "vsock", "watcher"])("the list of %s", (thread) => {
  const numbers = policyNumbers("x86_64");
  const policy = readPolicy([...policyTexts(thread, "x86_64").values()], numbers);
  const program = compiled(policy);

  test("is compiled to what it says", () => {
    const random = new Random(7);
    const known = Object.values(numbers.constants);
    for (let nr = 0; nr < 600; nr++)
      for (let i = 0; i < 200; i++) {
        const args = Array.from({ length: 6 }, () => BigInt(known[random.below(known.length)] ?? 0));
        expect(runFilter(program, { arch: X86_64, nr, args }).action).toBe(expected(policy, nr, args));
      }
  });

  test("takes few steps for any call", () => {
    const most = Math.max(
      ...Array.from({ length: 600 }, (_, nr) => runFilter(program, { arch: X86_64, nr }).steps),
      runFilter(program, { arch: X86_64, nr: 16, args: [0n, 0xae80n] }).steps,
    );
    expect(most).toBeLessThanOrEqual(24);
  });
});

test("threads near the guest are allowed little", () => {
  const allowed = (thread: string): number =>
    [...readPolicy([...policyTexts(thread, "x86_64").values()], policyNumbers("x86_64")).values()].filter((rules) =>
      rules.some(({ outcome }) => outcome === "allow"),
    ).length;
  expect(allowed("vcpu")).toBeLessThanOrEqual(40);
  expect(allowed("block")).toBeLessThanOrEqual(50);
});
