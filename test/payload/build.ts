import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { asset } from "../setup/cache.ts";
import { runText, SetupError } from "../setup/exec.ts";

const guestFolder = join(import.meta.dir, "guest");
const runtimeFolder = join(guestFolder, "runtime");

// -mgeneral-regs-only and -mno-bmi2: level-0 code may be interpreted by a KVM without hardware support, which knows no
// vector and no BMI2 instructions. -mno-red-zone: interrupts at level 0 use the stack they find.
const flags = [
  "-std=gnu17",
  "-O2",
  "-Wall",
  "-Wextra",
  "-Werror",
  "-ffreestanding",
  "-fno-pic",
  "-fno-pie",
  "-fno-stack-protector",
  "-fno-asynchronous-unwind-tables",
  "-fcf-protection=none",
  "-march=x86-64",
  "-mno-red-zone",
  "-mgeneral-regs-only",
  "-mno-bmi2",
  "-nostdlib",
  "-static",
  "-no-pie",
  "-Wl,--build-id=none",
  "-Wl,-z,noexecstack",
  "-Wl,-z,max-page-size=4096",
  "-Wl,--no-warn-rwx-segments",
];

/** Names of all payload programs, sorted. */
export function payloadNames(): string[] {
  return readdirSync(guestFolder)
    .filter((file) => file.endsWith(".c"))
    .map((file) => file.slice(0, -2))
    .sort();
}

/**
 * Compiles one payload (a file of test/payload/guest) to a PVH ELF and returns its path in the test cache. The path
 * depends on every source file, the flags and the compiler version, so a second call finds the first one's file.
 * @throws SetupError when gcc is missing, the name is unknown or the compiler reports an error.
 */
export async function buildPayload(name: string): Promise<string> {
  if (!payloadNames().includes(name)) {
    throw new SetupError(`no payload named ${name}; there are: ${payloadNames().join(", ")}`);
  }
  const source = join(guestFolder, `${name}.c`);
  const runtime = readdirSync(runtimeFolder)
    .sort()
    .map((entry) => join(runtimeFolder, entry));
  const recipe = {
    flags,
    compiler: await runText(["gcc", "--version"]),
    sources: [source, ...runtime].map((path) => [path.slice(guestFolder.length), readFileSync(path, "utf8")]),
  };
  const folder = await asset(`payload-${name}`, recipe, async (dir) => {
    await runText([
      "gcc",
      ...flags,
      `-Wl,-T,${join(runtimeFolder, "payload.ld")}`,
      ...["-o", join(dir, `${name}.elf`), source],
      ...runtime.filter((path) => /\.(c|S)$/.test(path)),
    ]);
  });
  return join(folder, `${name}.elf`);
}
