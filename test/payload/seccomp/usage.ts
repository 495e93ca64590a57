// usage.ts FOLDER: compares the lists to what threads have done. The traces come from tests that were run with CH_TRACES=FOLDER
// CH_TEST_VMM=test/payload/seccomp/traced-vmm. Fails when a thread has made a call that its list does not name, and for each
// system call, or value of an argument, that a list names and no thread has made - unless its rule says that tests do not.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { INSTRUCTION_BYTES } from "../../../src/host/seccomp/bpf.ts";
import { filterProgram, policyNumbers, policyText, policyTexts } from "../../../src/host/seccomp/filter-program.ts";
import { type ArgumentTest, type RuleText, readPolicy, THIS_PROCESS } from "../../../src/host/seccomp/policy.ts";
import { KINDS, type Kind } from "./kinds.ts";
import { filteredCalls, type TracedCall } from "./traces.ts";

/** What a file of a list allows in one way: a system call, and one value of an argument if there are conditions. */
interface Entry {
  readonly file: string;
  readonly text: string;
  readonly untested: boolean;
  readonly tests: readonly ArgumentTest[];
  used: boolean;
}

const numbers = policyNumbers("x86_64");

function entriesOf(file: string, rule: RuleText, syscall: string): Entry[] {
  const number = numbers.syscalls[syscall] ?? -1;
  const [{ tests = [] } = {}] =
    readPolicy([{ threads: file, rules: [{ ...rule, syscall }] }], numbers).get(number) ?? [];
  const untested = rule.untested === true;
  const conditions = Object.entries(rule.args ?? {}).flatMap(([index, condition]) =>
    "mask" in condition ? [] : [{ index: Number(index), names: condition }],
  );
  const [longest] = conditions.toSorted((a, b) => b.names.length - a.names.length);
  const several = tests.find(({ index }) => index === longest?.index);
  if (several === undefined) return [{ file, text: syscall, untested, tests, used: false }];
  return several.values.map((value, i) => ({
    file,
    text: `${syscall}(${longest?.names[i]})`,
    untested,
    tests: tests.map((test) => (test === several ? { ...test, values: [value] } : test)),
    used: false,
  }));
}

/** The entries of each file, by system call. */
const files = new Map<string, Map<string, Entry[]>>();
for (const file of ["runtime", ...KINDS]) {
  const entries = new Map<string, Entry[]>();
  for (const rule of policyText(file, "x86_64").rules)
    for (const syscall of [rule.syscall].flat())
      entries.set(syscall, [...(entries.get(syscall) ?? []), ...entriesOf(file, rule, syscall)]);
  files.set(file, entries);
}

/** Lists by the length of their filters, which is all that a trace shows of them. */
const kinds = new Map<number, { readonly kind: Kind; readonly files: readonly Map<string, Entry[]>[] }>();
for (const kind of KINDS) {
  const instructions = Buffer.from(filterProgram(kind), "base64").length / INSTRUCTION_BYTES;
  if (kinds.has(instructions))
    throw new Error(`the filters of ${kind} and ${kinds.get(instructions)?.kind} have one length`);
  const names = [...policyTexts(kind, "x86_64").keys()];
  kinds.set(instructions, { kind, files: names.flatMap((name) => files.get(name) ?? []) });
}

const holds = ({ tests }: Entry, { args, pid }: TracedCall): boolean =>
  tests.every(({ index, mask, values }) => {
    const value = args[index];
    return value !== undefined && values.includes(value === pid ? THIS_PROCESS : (value & mask) >>> 0);
  });

const strange = new Map<string, string>();
let calls = 0;
const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error("usage.ts FOLDER");
for (const run of readdirSync(folder))
  for (const call of filteredCalls(join(folder, run))) {
    calls++;
    for (const filter of call.filters) {
      const list = kinds.get(filter);
      if (list === undefined)
        throw new Error(`${run}: a filter of ${filter} instructions: the traces are of another build`);
      const found = list.files.flatMap((entries) => entries.get(call.name) ?? []).filter((entry) => holds(entry, call));
      for (const entry of found) entry.used = true;
      const key = `${list.kind}: ${call.name}`;
      if (found.length === 0 && !strange.has(key)) strange.set(key, `${run}: ${call.line}`);
    }
  }

const entries = [...files.values()].flatMap((byCall) => [...byCall.values()].flat());
const list = (title: string, chosen: readonly Entry[]): void => {
  for (const file of new Set(chosen.map((entry) => entry.file)))
    console.log(`${title}: ${file}: ${chosen.flatMap((entry) => (entry.file === file ? [entry.text] : [])).join(" ")}`);
};
const unused = entries.filter(({ used, untested }) => !used && !untested);
for (const [key, line] of strange) console.log(`not in the list of ${key}: ${line}`);
list("no test makes", unused);
list(
  "a test makes after all",
  entries.filter(({ used, untested }) => used && untested),
);
console.log(`${calls} calls, ${strange.size} not listed, ${unused.length} of ${entries.length} entries not used`);
process.exitCode = strange.size + unused.length > 0 ? 1 : 0;
