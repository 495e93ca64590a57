import { describe, expect, test } from "bun:test";
import { parseCommandLine, type RunRequest } from "../../../src/cli/parse.ts";
import { type HostFacts, mayNeedNetwork, needsLauncher } from "../../../src/cli/vmm-launcher.ts";

const PLAIN: HostFacts = { terminal: () => false, passt: () => false };
const TERMINAL: HostFacts = { ...PLAIN, terminal: () => true };
const PASST: HostFacts = { ...PLAIN, passt: () => true };

function requestOf(argv: readonly string[]): RunRequest {
  const commandLine = parseCommandLine(argv);
  if (commandLine.kind !== "run") throw new Error(commandLine.text);
  return commandLine.request;
}

const needs = (host: HostFacts, ...argv: readonly string[]): boolean => needsLauncher(requestOf(argv), host);

const BOOT = ["--kernel", "vmlinux"];
const QUIET = [...BOOT, "--console", "off"];

describe("a VMM has a launcher", () => {
  test.each([
    ["its guest may get the terminal by default", TERMINAL, BOOT],
    ["its guest gets the terminal as serial port", TERMINAL, [...QUIET, "--serial", "tty"]],
    ["a console is a pseudo-terminal", PLAIN, [...BOOT, "--console", "pty,iommu=on"]],
    ["a network is passt's", PLAIN, [...QUIET, "--net", "tap=t0", "user=on"]],
    ["a network may be plugged in", PASST, [...QUIET, "--api-socket", "/tmp/s"]],
    ["another VM may get the terminal", TERMINAL, [...QUIET, "--api-socket", "/tmp/s"]],
    ["the API says what VM there is", PLAIN, ["--api-socket", "/tmp/s"]],
  ] as const)("when %s", (_name, host, argv) => {
    expect(needs(host, ...argv)).toBeTrue();
  });
});

describe("a VMM has none", () => {
  test.each([
    ["without a terminal", PLAIN, BOOT],
    ["when its guest gets no terminal", TERMINAL, [...QUIET, "--serial", "null"]],
    ["when nothing of passt's is plugged in", PASST, QUIET],
    ["without passt", PLAIN, [...QUIET, "--api-socket", "/tmp/s", "--net", "tap=t0"]],
  ] as const)("%s", (_name, host, argv) => {
    expect(needs(host, ...argv)).toBeFalse();
  });
});

test.each([
  ["a network of passt's", true, [...QUIET, "--net", "user=on"]],
  ["an API", true, [...QUIET, "--api-socket", "/tmp/s"]],
  ["no VM yet", true, ["--api-socket", "/tmp/s"]],
  ["a TAP interface", false, [...QUIET, "--net", "tap=t0"]],
  ["consoles", false, [...BOOT, "--console", "pty"]],
] as const)("with %s, whether the launcher may start passt is: %p", (_what, expected, argv) => {
  expect(mayNeedNetwork(requestOf(argv))).toBe(expected);
});
