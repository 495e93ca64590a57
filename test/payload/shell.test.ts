import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { ensurePackages } from "../setup/packages.ts";
import { BUILT_VMM, vmmPath } from "./vmm.ts";

const PROGRAMS = ["cloud-hypervisor", "ch-remote"] as const;
let folder: string;

beforeAll(async () => {
  await ensurePackages(["fish", "mandoc", "zsh"]);
  folder = await scratchDir("shell");
  for (const program of PROGRAMS) {
    for (const shell of ["bash", "zsh", "fish"]) {
      mkdirSync(join(folder, shell), { recursive: true });
      const file = shell === "zsh" ? `_${program}` : `${program}.${shell}`;
      writeFileSync(join(folder, shell, file), printed(program, "--completions", shell));
    }
    writeFileSync(join(folder, `${program}.1`), printed(program, "--man"));
  }
  for (const name of ["disk.raw", "kernel"]) writeFileSync(join(folder, name), "");
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function printed(program: string, ...args: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([join(dirname(BUILT_VMM), program), ...args]);
  expect({ exitCode, stderr: stderr.toString() }).toEqual({ exitCode: 0, stderr: "" });
  return stdout.toString();
}

function output(command: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  const { stdout, stderr } = Bun.spawnSync([...command], {
    cwd: folder,
    env: { ...process.env, TERM: "dumb", ...env },
  });
  expect(stderr.toString()).toBe("");
  return stdout.toString();
}

/** What a shell offers at the end of a line. */
type Complete = (line: string) => string[];

const bash: Complete = (line) => {
  const program = line.split(" ")[0] ?? "";
  const script = `source bash/${program}.bash
COMP_LINE=$1 COMP_POINT=\${#1}
_${program.replaceAll("-", "_")}
printf '%s\\n' "\${COMPREPLY[@]}"`;
  return output(["bash", "--norc", "-c", script, "bash", line]).trimEnd().split("\n");
};

const fish: Complete = (line) => {
  const program = line.split(" ")[0] ?? "";
  const lines = output(["fish", "--no-config", "-c", `source fish/${program}.fish; complete -C $argv[1]`, line], {
    HOME: folder,
  });
  return lines
    .trimEnd()
    .split("\n")
    .map((offer) => offer.split("\t")[0] ?? "");
};

/** In a zsh: notes what completion functions offer, which is else only shown, and not while there is more to read. */
const CAPTURE = `compadd() {
  local -a offered
  if [[ \${@[1,(i)(-|--)]} != *-(O|A|D)\\ * ]]; then
    builtin compadd -A offered "$@"
    print -rl -- $offered >>captured
  fi
  builtin compadd "$@"
}
fpath=($PWD/zsh $fpath)
autoload -U compinit
compinit -u -D
bindkey '^I' complete-word
completed() { print COMPL''ETED }
comppostfuncs=(completed)
`;

/** zsh completes only at a terminal: it gets one of its own. */
const zsh: Complete = (line) => {
  writeFileSync(join(folder, "capture.zsh"), CAPTURE);
  writeFileSync(join(folder, "captured"), "");
  const script = `zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "source capture.zsh; echo REA''DY"
zpty -r z text '*READY*'
zpty -w -n z "$1"$'\\t'
zpty -r z text '*COMPLETED*'`;
  output(["zsh", "-f", "-c", script, "zsh", line]);
  return readFileSync(join(folder, "captured"), "utf8").trimEnd().split("\n");
};

describe.each([
  ["bash", bash],
  ["fish", fish],
  ["zsh", zsh],
] as const)("completions of %s", (shell, complete) => {
  const offers = (line: string, ...expected: readonly string[]) => {
    const offered = complete(line);
    for (const word of expected) expect(offered).toContain(word);
    return offered;
  };

  test("options, and the words that they take", () => {
    offers("cloud-hypervisor --se", "--serial", "--seccomp");
    offers("cloud-hypervisor --seccomp ", "true", "false", "log", "errno");
  });

  test("files", () => {
    expect(offers("cloud-hypervisor --kernel k", ...(shell === "zsh" ? [] : ["kernel"])).join(" ")).toContain("kernel");
  });

  test("keys of a value, also behind others", () => {
    const plain = (line: string) => complete(line).map((word) => word.replace(/^.*,/, "").replace(/=.*$/, ""));
    expect(plain("cloud-hypervisor --disk ")).toContain("path");
    expect(plain("cloud-hypervisor --disk pat").join(" ")).toContain("path");
    expect(plain("cloud-hypervisor --disk path,reado").join(" ")).toContain("readonly");
  });

  test("subcommands of ch-remote and their keys", () => {
    offers("ch-remote re", "resize", "resume", "reboot", "remove-device");
    expect(complete("ch-remote add-disk ").map((word) => word.replace(/=.*$/, ""))).toContain("path");
    offers("ch-remote --api-socket s resize --", "--cpus", "--memory");
  });
});

describe.each([
  ["bash", bash],
  ["fish", fish],
  ["zsh", zsh],
] as const)("completions of the disk tool for %s", (_shell, complete) => {
  test("subcommands, their options and what those take", () => {
    expect(complete("cloud-hypervisor di")).toContain("disk");
    const commands = complete("cloud-hypervisor disk ");
    for (const command of ["info", "check", "create", "convert"]) expect(commands).toContain(command);
    const options = complete("cloud-hypervisor disk check --");
    expect(options).toContain("--repair");
    expect(options).not.toContain("--kernel");
    expect(options).not.toContain("--verify");
    for (const kind of ["leaks", "all"]) expect(complete("cloud-hypervisor disk check --repair ")).toContain(kind);
  });

  test("images", () => {
    expect(complete("cloud-hypervisor disk info disk").join(" ")).toContain("disk.raw");
    expect(complete("cloud-hypervisor disk convert --verify disk").join(" ")).toContain("disk.raw");
  });
});

test("the manual page names every option of the disk tool", () => {
  const page = output(["mandoc", "-T", "ascii", "cloud-hypervisor.1"]).replaceAll(/.[\b]/g, "");
  const help = printed("cloud-hypervisor", "disk", "--help");
  for (const [option] of help.matchAll(/^ {2}--[a-z-]+/gm)) expect(page).toContain(option.trim());
  for (const [, command = ""] of help.matchAll(/^ {2}cloud-hypervisor (disk [a-z]+)/gm))
    expect(page).toContain(command);
});

describe.each(PROGRAMS)("the manual page of %s", (program) => {
  test("is well-formed", () => {
    expect(output(["groff", "-man", "-Tutf8", "-ww", "-z", `${program}.1`])).toBe("");
    const { stdout } = Bun.spawnSync(["mandoc", "-T", "lint", "-W", "warning", `${program}.1`], { cwd: folder });
    // A page that is made anew with each build has no date.
    expect(
      stdout
        .toString()
        .split("\n")
        .filter((line) => line !== "" && !line.includes("missing date")),
    ).toEqual([]);
  });

  test("names every option that help names", () => {
    const page = output(["mandoc", "-T", "ascii", `${program}.1`]).replaceAll(/.[\b]/g, "");
    for (const [option] of printed(program, "--help").matchAll(/^ {2}(?:-\w, )?--[a-z-]+/gm))
      expect(page).toContain(option.trim());
  });
});

test("what is no shell is a usage error as ever", () => {
  for (const args of [["--completions"], ["--completions", "csh"], ["--man", "x"]])
    expect(Bun.spawnSync([vmmPath(), ...args]).exitCode).toBe(2);
});
