import { describe, expect, test } from "bun:test";
import { type CommandLine, parseCommandLine, type RunRequest } from "../../../src/cli/parse.ts";
import type { OptionName } from "../../../src/config/options.ts";

const parse = (...argv: string[]): CommandLine => parseCommandLine(argv, { arch: "x86_64", columns: () => 100 });

function run(...argv: string[]): RunRequest {
  const line = parse(...argv);
  if (line.kind !== "run") throw new Error(line.text);
  return line.request;
}

describe("usage errors", () => {
  const cases: readonly (readonly [readonly string[], string])[] = [
    [["foo"], "'foo'"],
    [["-"], "'-'"],
    [["--", "foo"], "'foo'"],
    [["--kernel", "k", "--", "--disk"], "'--disk'"],
    [["--nonsense"], "'--nonsense'"],
    [["--nonsense=1"], "'--nonsense'"],
    [["--kern", "k"], "did you mean '--kernel'"],
    [["--cpu", "boot=1"], "did you mean '--cpus'"],
    [["--dsik", "path=x"], "did you mean '--disk'"],
    [["-x"], "'-x'"],
    [["-vx"], "'-x'"],
    [["-v=1"], "'-='"],
    [["-k", "kernel"], "'-k'"],
    [["--v"], "'--v'"],
    [["--kernel"], "--kernel"],
    [["--kernel", "--disk", "path=x"], "--kernel"],
    [["--kernel", "-x"], "--kernel"],
    [["--cmdline", "-x", "--kernel", "k"], "--cmdline"],
    [["--kernel", "k", "--disk"], "--disk"],
    [["--kernel", "k", "--disk", "--serial", "tty"], "--disk"],
    [["--kernel", "k", "extra"], "'extra'"],
    [["--kernel", "k", "--disk=path=a", "path=b"], "'path=b'"],
    [["--kernel", "k", "--rtc", "id=a", "id=b"], "'id=b'"],
    [["--kernel", "a", "--kernel", "b"], "multiple times"],
    [["--kernel=a", "--kernel=b"], "multiple times"],
    [["--kernel", "k", "--watchdog", "--watchdog"], "multiple times"],
    [["--version", "--version"], "multiple times"],
    [["-VV"], "multiple times"],
    [["--kernel", "k", "--rtc", "--rtc"], "multiple times"],
    [["--no-shutdown", "--no-shutdown"], "multiple times"],
    [["--kernel", "k", "--watchdog=on"], "'--watchdog'"],
    [["--kernel", "k", "--watchdog="], "'--watchdog'"],
    [["--help=yes"], "'--help'"],
    [["--seccomp", "True"], "true, false, log, errno"],
    [["--seccomp", ""], "true, false, log, errno"],
    [["--sgx-epc", "id=x"], "'--sgx-epc'"],
    [["--tdx", "firmware=x"], "'--tdx'"],
    // An option of the VM without anything to boot.
    [["--cpus", "boot=1"], "--kernel"],
    [["--disk", "path=x"], "--firmware"],
    [["--rng"], "--rng"],
    [["--cmdline", "c", "--api-socket", "/s"], "--cmdline"],
    [["--landlock"], "--landlock"],
    [["--version", "--cpus", "boot=1"], "--cpus"],
    [["--version", "foo"], "'foo'"],
    // Help comes too late.
    [["foo", "--help"], "'foo'"],
    [["--kernel", "a", "--kernel", "b", "-h"], "multiple times"],
  ];
  for (const [argv, message] of cases)
    test(argv.join(" "), () => {
      const line = parse(...argv);
      if (line.kind !== "usage-error") throw new Error(`came to ${line.kind}`);
      expect(line.text).toStartWith("error: ");
      expect(line.text.split("\n")[0]).toContain(message);
      expect(line.stream).toBe("stderr");
      expect(line.exitCode).toBe(2);
    });
});

describe("options", () => {
  const cases: readonly (readonly [readonly string[], Partial<Record<OptionName, readonly string[]>>])[] = [
    [["--kernel", "k"], { kernel: ["k"] }],
    [["--kernel=k"], { kernel: ["k"] }],
    [["--kernel=a=b"], { kernel: ["a=b"] }],
    [["--kernel="], { kernel: [""] }],
    [["--kernel", ""], { kernel: [""] }],
    [["--kernel", "-"], { kernel: ["-"] }],
    [["--kernel", "k", "--cmdline=-x y"], { kernel: ["k"], cmdline: ["-x y"] }],
    [["--kernel", "k", "--cmdline", "a -x"], { kernel: ["k"], cmdline: ["a -x"] }],
    [["--kernel", "k", "--disk", "a", "b"], { kernel: ["k"], disk: ["a", "b"] }],
    [["--disk", "a", "b", "--kernel", "k", "--disk=c", "--disk", "d"], { kernel: ["k"], disk: ["a", "b", "c", "d"] }],
    [["--kernel", "k", "--disk", ""], { kernel: ["k"], disk: [""] }],
    [["--kernel", "k", "--disk", "a", "--"], { kernel: ["k"], disk: ["a"] }],
    [["--kernel", "k", "--rtc"], { kernel: ["k"], rtc: [] }],
    [["--kernel", "k", "--rtc", ""], { kernel: ["k"], rtc: [""] }],
    [["--kernel", "k", "--rtc="], { kernel: ["k"], rtc: [""] }],
    [["--kernel", "k", "--rtc", "id=x"], { kernel: ["k"], rtc: ["id=x"] }],
    [["--kernel", "k", "--rng", "--serial", "tty"], { kernel: ["k"], rng: [], serial: ["tty"] }],
    [["--kernel", "k", "--rng"], { kernel: ["k"], rng: [] }],
    [["--kernel", "k", "--watchdog", "--pvpanic"], { kernel: ["k"], watchdog: [], pvpanic: [] }],
    [["--firmware", "f", "--kernel", "k", "--restore", "r"], { firmware: ["f"], kernel: ["k"], restore: ["r"] }],
    [["--fw-cfg-config", "x", "--cpus", "boot=1"], { "fw-cfg-config": ["x"], cpus: ["boot=1"] }],
    [["--igvm", "x", "--host-data", "d"], { igvm: ["x"], "host-data": ["d"] }],
    [["--api-socket", "/s", "--no-shutdown"], { "api-socket": ["/s"], "no-shutdown": [] }],
    [["--"], {}],
    [["-v"], {}],
  ];
  for (const [argv, options] of cases)
    test(argv.join(" "), () => {
      const given = run(...argv).options;
      expect<unknown>(Object.fromEntries([...given.names()].map((name) => [name, [...given.texts(name)]]))).toEqual(
        options,
      );
    });

  test("-v counts", () => {
    expect(run("--kernel", "k").verbosity).toBe(0);
    expect(run("-v", "--kernel", "k", "-vv", "-v").verbosity).toBe(4);
  });

  test("options of the process are set out", () => {
    const request = run("--seccomp", "errno", "--log-file", "/l", "--log-format={msg}", "--no-shutdown", "--restore=r");
    expect(request).toMatchObject({
      seccomp: "errno",
      logFile: "/l",
      logFormat: "{msg}",
      noShutdown: true,
      start: "restore",
    });
    expect(run("--kernel", "k")).toMatchObject({
      seccomp: "trap",
      logFile: undefined,
      logFormat: undefined,
      noShutdown: false,
      start: "boot",
    });
  });

  test("the debug console exists on x86-64 only", () => {
    const argv = ["--kernel", "k", "--debug-console", "tty"];
    expect(parseCommandLine(argv, { arch: "x86_64" }).kind).toBe("run");
    expect(parseCommandLine(argv, { arch: "aarch64" }).kind).toBe("usage-error");
  });
});

describe("help", () => {
  test("is printed to stdout", () => {
    for (const argv of [
      ["--help"],
      ["-h"],
      ["-vh"],
      ["--kernel", "k", "-h"],
      ["--cpus", "boot=1", "--help", "foo"],
      ["-hx"],
    ])
      expect(parse(...argv)).toMatchObject({ kind: "help", stream: "stdout", exitCode: 0 });
  });
  test("goes to stderr when there are no arguments", () =>
    expect(parse()).toMatchObject({ kind: "no-arguments", stream: "stderr", exitCode: 2 }));
});

describe("--version", () => {
  const version = (...argv: string[]) => {
    const line = parse(...argv);
    if (line.kind !== "version") throw new Error(`came to ${line.kind}`);
    expect(line).toMatchObject({ stream: "stdout", exitCode: 0 });
    return line.text.split("\n");
  };
  test("prints two lines", () => {
    for (const option of ["--version", "-V"]) {
      const lines = version(option);
      expect(lines[0]).toMatch(/^cloud-hypervisor v\d+\.\d+/);
      expect(lines.slice(1)).toEqual(["Migration Protocol Versions: 0", ""]);
    }
  });
  test("prints the features with -v", () => {
    for (const argv of [["--version", "-v"], ["-vV"], ["-Vvv"], ["-v", "--kernel", "k", "-V"]])
      expect(version(...argv).slice(1)).toEqual([
        "Migration Protocol Versions: 0",
        'Enabled features: ["fw_cfg", "io_uring", "kvm", "ivshmem"]',
        "",
      ]);
  });
});
