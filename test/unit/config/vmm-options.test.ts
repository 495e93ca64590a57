import { describe, expect, test } from "bun:test";
import { ConfigurationError, OptionError } from "../../../src/config/errors.ts";
import { startOf } from "../../../src/config/options.ts";
import { parseApiSocket, parseEventMonitor, parseGdb, parseRestore } from "../../../src/config/vmm-options.ts";
import { given, type Options } from "./command-line.ts";

describe("--api-socket", () => {
  for (const [text, endpoint] of [
    ["/run/x", { path: "/run/x" }],
    ["path=/run/x", { path: "/run/x" }],
    ['path="/run/x"', { path: "/run/x" }],
    ["fd=3", { fd: 3 }],
    ["path=/run/x,fd=3", { fd: 3 }],
    ["fd=", { path: "fd=" }],
    ["path=", { path: "path=" }],
    ["", { path: "" }],
    ["/run/x,y=z", { path: "/run/x,y=z" }],
    ["path=/run/x,y=z", { path: "/run/x" }],
    ["/run/[x", { path: "/run/[x" }],
  ] as const)
    test(`'${text}'`, () => expect<unknown>(parseApiSocket(text)).toEqual(endpoint));
  test("fd must be a number", () => {
    expect(() => parseApiSocket("fd=x")).toThrow(OptionError);
    expect(() => parseApiSocket("fd=x")).toThrow("--api-socket");
  });
});

describe("--event-monitor", () => {
  for (const [text, endpoint] of [
    ["path=/e", { path: "/e" }],
    ["fd=4", { fd: 4 }],
    ["path=/e,fd=4", { fd: 4 }],
  ] as const)
    test(`'${text}'`, () => expect<unknown>(parseEventMonitor(text)).toEqual(endpoint));
  for (const text of ["", "/e", "path=", "fd=", "fd=x", "path=/e,fd="])
    test(`'${text}' is refused`, () => expect(() => parseEventMonitor(text)).toThrow(OptionError));
});

describe("--gdb and --restore", () => {
  test("are key=value", () => {
    expect(parseGdb("path=/g")).toEqual({ path: "/g" });
    expect(parseRestore("source_url=file:///s").source_url).toBe("file:///s");
  });
  test("are refused with their names", () => {
    expect(() => parseGdb("path=")).toThrow(OptionError);
    expect(() => parseRestore("/s")).toThrow(ConfigurationError);
  });
});

describe("what a command line starts", () => {
  for (const [options, start] of [
    [{ kernel: [""] }, "boot"],
    [{ firmware: ["f"] }, "boot"],
    [{ igvm: ["g"] }, "boot"],
    [{ kernel: ["k"], restore: ["r"] }, "boot"],
    [{ restore: ["r"] }, "restore"],
    [{ "fw-cfg-config": ["nonsense"] }, "idle"],
    [{ "api-socket": ["/s"] }, "idle"],
  ] as readonly (readonly [Options, string])[])
    test(JSON.stringify(options), () => expect<string>(startOf(given(options))).toBe(start));
});
