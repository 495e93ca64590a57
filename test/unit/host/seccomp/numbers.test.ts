import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemCalls } from "../../../../src/host/libc.ts";
import { policyNumbers } from "../../../../src/host/seccomp/filter-program.ts";
import { VIOLATION_HANDLER_X86_64 } from "../../../../src/host/seccomp/violation-handler.ts";

const { syscalls, constants } = policyNumbers("x86_64");

/** Newer than some C libraries' headers. */
const FALLBACKS = { PR_SCHED_CORE: 62 };

function run(folder: string, command: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], { cwd: folder });
  if (exitCode !== 0) throw new Error(`${command.join(" ")}: ${stderr.toString()}`);
  return stdout.toString();
}

test("every name in the policies is the number that C has for it", () => {
  const folder = mkdtempSync(join(tmpdir(), "seccomp-"));
  try {
    const print = (name: string, expression: string): string => `printf("${name} %u\\n", (unsigned)(${expression}));`;
    const headers = [
      ...["errno.h", "fcntl.h", "sched.h", "signal.h", "stdio.h", "sys/ioctl.h", "sys/mman.h", "sys/socket.h"],
      ...["sys/syscall.h", "linux/falloc.h", "linux/fs.h", "linux/if_tun.h", "linux/kvm.h", "linux/prctl.h"],
      ...["linux/sockios.h", "asm/termbits.h"],
    ];
    const source = [
      "#define _GNU_SOURCE",
      ...headers.map((header) => `#include <${header}>`),
      ...Object.entries(FALLBACKS).map(([name, value]) => `#ifndef ${name}\n#define ${name} ${value}\n#endif`),
      // What pthread_create asks clone for, in the C library's own words (sysdeps/unix/sysv/linux/createthread.c).
      "#define PTHREAD_CLONE_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SYSVSEM | CLONE_SIGHAND | CLONE_THREAD \\",
      "  | CLONE_SETTLS | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)",
      "int main(void) {",
      ...Object.keys(constants).map((name) => print(name, name)),
      ...Object.keys(syscalls).map((name) => `#ifdef SYS_${name}\n${print(`SYS_${name}`, `SYS_${name}`)}\n#endif`),
      "return 0; }",
    ];
    writeFileSync(join(folder, "numbers.c"), source.join("\n"));
    run(folder, ["gcc", "-o", "numbers", "numbers.c"]);
    const seen = run(folder, ["./numbers"]).trim().split("\n");
    const known = { ...constants, ...Object.fromEntries(Object.entries(syscalls).map(([k, v]) => [`SYS_${k}`, v])) };
    expect(seen.length).toBeGreaterThan(400);
    for (const line of seen) {
      const [name = "", value] = line.split(" ");
      expect([name, known[name]]).toEqual([name, Number(value)]);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("the handler of violations is what its source says", () => {
  const folder = mkdtempSync(join(tmpdir(), "seccomp-"));
  try {
    const source = join(import.meta.dir, "../../../../src/host/seccomp/violation-handler.x86_64.s");
    run(folder, ["as", "-o", "handler.o", source]);
    run(folder, ["objcopy", "-O", "binary", "-j", ".text", "handler.o", "handler.bin"]);
    expect(readFileSync(join(folder, "handler.bin")).toHex()).toBe(VIOLATION_HANDLER_X86_64);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("system calls have the numbers of their names", () => {
  /** Names of the C library that the kernel has in another form. */
  const kernelNames: Readonly<Record<string, string>> = { pread: "pread64", pwrite: "pwrite64", eventfd: "eventfd2" };
  for (const [name, { number }] of Object.entries(systemCalls))
    expect([name, syscalls[kernelNames[name] ?? name]]).toEqual([name, number]);
});
