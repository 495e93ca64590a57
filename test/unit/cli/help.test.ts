import { describe, expect, test } from "bun:test";
import { helpText } from "../../../src/cli/help.ts";
import { optionsOf } from "../../../src/config/options.ts";
import { keysOf } from "../../../src/config/schema/object-schema.ts";

/** The help of one option: from its own line to that of the next. */
function section(help: string, name: string): string {
  const lines = help.split("\n");
  const start = lines.findIndex((line) => new RegExp(`^  (-\\w, )?-{1,2}${name}( |$)`).test(line));
  if (start < 0) throw new Error(`no help for ${name}`);
  const length = lines.slice(start + 1).findIndex((line) => /^ {0,2}\S|^$/.test(line));
  return lines.slice(start, start + 1 + (length < 0 ? lines.length : length)).join("\n");
}

describe("help", () => {
  for (const option of optionsOf("x86_64"))
    test(`shows --${option.name}, its keys and defaults`, () => {
      const text = section(helpText("x86_64", 120), option.name);
      if (option.defaultText !== undefined) expect(text).toContain(`default: ${option.defaultText}`);
      for (const key of option.schema === undefined ? [] : keysOf(option.schema)) {
        const line = new RegExp(`^ {6}${key.name}(=|\\s|$)`, "m");
        if (key.hidden || key.replacedBy !== undefined) expect(text).not.toMatch(line);
        else expect(text).toMatch(line);
      }
    });

  test("keeps to the width of the terminal", () => {
    for (const columns of [60, 80, 100, 120])
      for (const line of helpText("x86_64", columns).split("\n"))
        if (line.trim().includes(" ")) expect(line.length).toBeLessThanOrEqual(columns);
  });

  test("is no narrower than 40 columns and no wider than 120", () => {
    expect(helpText("x86_64", 1)).toBe(helpText("x86_64", 40));
    expect(helpText("x86_64", 1000)).toBe(helpText("x86_64", 120));
  });

  test("tells what this version does not support", () => {
    const help = helpText("x86_64", 100);
    expect(section(help, "net")).toContain("not supported by this version");
    expect(section(help, "memory")).toMatch(/hotplug_size=.*\n?.*not supported by this version/);
    expect(section(help, "kernel")).not.toContain("not supported");
  });

  test("leaves out what the architecture does not have", () =>
    expect(helpText("aarch64", 80)).not.toContain("debug-console"));
});
