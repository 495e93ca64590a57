import { describe, expect, test } from "bun:test";
import { errorDebugText, failureText } from "../../../src/cli/error-chain.ts";
import { ConfigurationError, OptionError } from "../../../src/config/errors.ts";
import { ConversionError } from "../../../src/config/grammar/errors.ts";

const root = new ConversionError("size", "1T", "a size");
const chain = new ConfigurationError("error parsing", { cause: new OptionError("--memory", root) });

describe("failure text", () => {
  test("of a single error", () =>
    expect(failureText(new Error("no /dev/kvm"))).toBe(
      "Error: Cloud Hypervisor exited with the following error:\n  no /dev/kvm\n",
    ));
  test("of a chain", () =>
    expect(failureText(chain)).toBe(
      "Error: Cloud Hypervisor exited with the following chain of errors:\n" +
        "  0: error parsing\n" +
        "  1: error in the value of --memory\n" +
        "  2: cannot convert '1T' given for 'size': expected a size\n",
    ));
  test("of another component", () =>
    expect(failureText(new Error("x"), "ch-remote")).toStartWith("Error: ch-remote exited with"));
  test("of what is no error", () => {
    expect(failureText("text")).toEndWith("error:\n  text\n");
    expect(failureText(new Error("a", { cause: "b" }))).toEndWith("  0: a\n  1: b\n");
    expect(failureText(undefined)).toEndWith("  undefined\n");
  });
  test("of a chain that bites its tail ends", () => {
    const error = new Error("a");
    error.cause = error;
    expect(failureText(error).split("\n").length).toBeLessThan(50);
  });
});

describe("debug text", () => {
  test("has names, fields and causes on one line", () =>
    expect(errorDebugText(chain)).toBe(
      'ConfigurationError { message: "error parsing" } caused by ' +
        'OptionError { message: "error in the value of --memory", option: "--memory" } caused by ' +
        `ConversionError { message: ${JSON.stringify(root.message)}, key: "size", raw: "1T" }`,
    ));
  test("of a defect has the stack", () => {
    expect(errorDebugText(new Error("a", { cause: new TypeError("b") }))).toContain("error-chain.test");
    expect(errorDebugText(new Error("a"))).not.toContain("\n");
  });
});
