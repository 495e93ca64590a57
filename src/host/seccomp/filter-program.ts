import { readFileSync } from "node:fs";
import { join } from "node:path";
import { encodeProgram } from "./bpf.ts";
import { compileFilter, type FilterArch } from "./compile.ts";
import { type Numbers, type PolicyText, readPolicy } from "./policy.ts";

const FOLDER = join(import.meta.dir, "../../../seccomp");

function readJson<T>(arch: FilterArch, name: string): T {
  return JSON.parse(readFileSync(join(FOLDER, arch, `${name}.json`), "utf8"));
}

/** One policy file. */
export const policyText = (name: string, arch: FilterArch): PolicyText => readJson(arch, name);

/** The policy files that hold for a thread, by name: its own and what they include. */
export function policyTexts(thread: string, arch: FilterArch): ReadonlyMap<string, PolicyText> {
  const texts = new Map<string, PolicyText>();
  const add = (name: string): void => {
    if (texts.has(name)) return;
    const text = policyText(name, arch);
    texts.set(name, text);
    text.include?.forEach(add);
  };
  add(thread);
  return texts;
}

/** The numbers that stand behind names in policies. */
export function policyNumbers(arch: FilterArch): Numbers {
  return { syscalls: readJson(arch, "syscalls"), constants: readJson(arch, "constants") };
}

/**
 * Compiles `seccomp/<arch>/<thread>.json`. To be imported as a macro: it runs when the executable is built, which then holds
 * the result and neither the policies nor their compiler.
 * @returns an array of struct sock_filter in base64
 * @throws PolicyError
 */
export function filterProgram(thread: string): string {
  const arch: FilterArch = process.arch === "arm64" ? "aarch64" : "x86_64";
  return encodeProgram(
    compileFilter(readPolicy([...policyTexts(thread, arch).values()], policyNumbers(arch)), arch),
  ).toBase64();
}
