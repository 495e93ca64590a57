import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { findTool } from "../../../setup/exec.ts";

/** Runs a program of acpica-tools to its end, whatever its exit status. @returns all it printed */
async function acpica(program: "iasl" | "acpiexec", args: readonly string[], cwd: string, input = ""): Promise<string> {
  const stdin = new TextEncoder().encode(input);
  const child = Bun.spawn([toolPath(program), ...args], { cwd, stdin, stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  await child.exited;
  return stdout + stderr;
}

function toolPath(program: string): string {
  const path = findTool(program);
  if (path === undefined)
    throw new Error(`${program} is not installed: "npm test" sets it up, or install the Debian package acpica-tools`);
  return path;
}

/** Runs `use` with a folder that is gone afterwards. */
async function inScratch<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = await mkdtemp(join(tmpdir(), "acpi-"));
  try {
    return await use(dir);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** What iasl makes of one table. */
export interface Disassembly {
  /** The source iasl disassembled the table to. */
  readonly source: string;
  /** Whether this iasl knows the signature: if not, it looks at the header only. */
  readonly known: boolean;
  /** Lines that name errors, warnings or remarks, of disassembling and of compiling the source again. */
  readonly complaints: readonly string[];
  /** The table iasl compiled from the source, undefined where it failed. */
  readonly recompiled: Uint8Array | undefined;
}

/** Disassembles a table and compiles the result, without optimisations. */
export const roundTrip = (table: Uint8Array): Promise<Disassembly> =>
  inScratch(async (dir) => {
    await Bun.write(join(dir, "table.dat"), table);
    const disassembling = await acpica("iasl", ["-d", "table.dat"], dir);
    const source = await Bun.file(join(dir, "table.dsl")).text();
    const compiling = await acpica("iasl", ["-oa", "-p", "again", "table.dsl"], dir);
    const aml = Bun.file(join(dir, "again.aml"));
    const summary = /Compilation successful\. 0 Errors, 0 Warnings, 0 Remarks/.test(compiling);
    const complaints = `${disassembling}\n${compiling}`
      .split("\n")
      .filter(
        (line) => /\b(error|warning|remark|invalid|failed|could not)\b/i.test(line) && !line.includes("0 Errors,"),
      );
    return {
      source,
      known: !disassembling.includes("Unknown ACPI table signature"),
      complaints: summary ? complaints : [...complaints, compiling],
      recompiled: (await aml.exists()) ? await aml.bytes() : undefined,
    };
  });

/** Evaluates objects of a DSDT in ACPICA's interpreter, with every byte of every operation region `fill` at first. */
export interface Interpreter {
  /**
   * Evaluates a list of `path arguments`, in order.
   * @returns what the interpreter prints for each, register accesses included
   */
  evaluate(...expressions: readonly string[]): Promise<string[]>;
  /** Evaluates `expression` and waits for `count` notifications. @returns "object code", sorted */
  notifications(expression: string, count: number): Promise<string[]>;
}

export const interpreter = (dsdt: Uint8Array, fill = 0): Interpreter => ({
  evaluate: (...expressions) =>
    inScratch(async (dir) => {
      const file = join(dir, "dsdt.aml");
      await Bun.write(file, dsdt);
      const commands = expressions.map((expression) => `evaluate ${expression}\n`).join("");
      const options = ["-vr", "-di", "-fv", `0x${fill.toString(16)}`, basename(file)];
      const output = await acpica("acpiexec", options, dir, `${commands}quit\n`);
      const answers = output.split(/^Evaluating /m).slice(1);
      if (answers.length !== expressions.length) throw new Error(`acpiexec answered:\n${output}`);
      return answers;
    }),
  notifications: (expression, count) =>
    inScratch(async (dir) => {
      const file = join(dir, "dsdt.aml");
      await Bun.write(file, dsdt);
      // Notifications are printed by threads of their own, which the end of a batch does not wait for.
      const child = Bun.spawn(
        ["stdbuf", "-oL", toolPath("acpiexec"), "-di", "-fv", `0x${fill.toString(16)}`, basename(file)],
        { cwd: dir, stdin: "pipe", stdout: "pipe", stderr: "ignore" },
      );
      try {
        child.stdin.write(`evaluate ${expression}\n`);
        await child.stdin.flush();
        const decoder = new TextDecoder();
        let output = "";
        for await (const chunk of child.stdout) {
          output += decoder.decode(chunk, { stream: true });
          const found = [...output.matchAll(/Received a \w+ Notify on \[(\w+)\] \S+ Value (0x\w+)/g)];
          if (found.length >= count) return found.map(([, object, code]) => `${object} ${code}`).sort();
        }
        throw new Error(`acpiexec ended:\n${output}`);
      } finally {
        child.kill();
        await child.exited;
      }
    }),
});
