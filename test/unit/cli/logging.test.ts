import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LogSetupError, levelOf, startLogging } from "../../../src/cli/logging.ts";
import { logger } from "../../../src/threads/log.ts";
import { LogTemplateError } from "../../../src/threads/log-template.ts";

const directory = mkdtempSync(join(tmpdir(), "logging-"));
const file = join(directory, "log");
afterAll(() => {
  startLogging({ logFile: "/dev/null", logFormat: "", verbosity: 0 });
  rmSync(directory, { recursive: true });
});

describe("-v", () => {
  test("raises the level", () =>
    expect([0, 1, 2, 3, 4, 100].map(levelOf)).toEqual(["warn", "info", "debug", "trace", "trace", "trace"]));
});

describe("the log", () => {
  test("goes to the file, which is truncated", () => {
    writeFileSync(file, "old text that is long");
    const { consola, settings } = startLogging({ logFile: file, logFormat: "{level} {location}: {msg}", verbosity: 1 });
    consola.info("from", "consola", 1);
    consola.withTag("api").warn("tagged");
    consola.debug("not shown");
    consola.error(new Error("a", { cause: new Error("b") }));
    logger("vmm").info("from a logger");
    expect(readFileSync(file, "utf8")).toBe(
      [
        "INFO cli: from consola 1",
        "WARN api: tagged",
        'ERROR cli: Error { message: "a" } caused by Error { message: "b" }',
        "INFO vmm: from a logger",
        "",
      ].join("\r\n"),
    );
    expect(settings).toMatchObject({ level: "info", template: "{level} {location}: {msg}" });
    expect(settings.fd).toBeGreaterThan(2);
  });

  test("has the default template and the main thread's name", () => {
    const { consola } = startLogging({ logFile: file, logFormat: undefined, verbosity: 0 });
    consola.warn("w");
    consola.info("not shown");
    expect(readFileSync(file, "utf8")).toMatch(/^cloud-hypervisor: {3}0\.\d{6}s: <main> WARN:cli -- w\r\n$/);
  });

  test("has every record, repeated ones too", () => {
    const { consola } = startLogging({ logFile: file, logFormat: "{msg}", verbosity: 0 });
    for (let i = 0; i < 20; i++) consola.warn("again");
    expect(readFileSync(file, "utf8")).toBe("again\r\n".repeat(20));
  });

  test("has all of consola's types at their levels", () => {
    const { consola } = startLogging({ logFile: file, logFormat: "{level}", verbosity: 3 });
    consola.fatal("");
    consola.fail("");
    consola.success("");
    consola.log("");
    consola.debug("");
    consola.trace("");
    consola.verbose("");
    expect(readFileSync(file, "utf8").split("\r\n")).toEqual([
      "ERROR",
      "ERROR",
      "INFO",
      "INFO",
      "DEBUG",
      "TRACE",
      "TRACE",
      "",
    ]);
  });
});

describe("what is fatal", () => {
  test("a file that cannot be created", () => {
    const path = join(directory, "no", "such", "directory");
    expect(() => startLogging({ logFile: path, logFormat: undefined, verbosity: 0 })).toThrow(LogSetupError);
    expect(() => startLogging({ logFile: path, logFormat: undefined, verbosity: 0 })).toThrow(path);
    expect(() => startLogging({ logFile: "", logFormat: undefined, verbosity: 0 })).toThrow(LogSetupError);
  });
  test("a wrong format", () => {
    try {
      startLogging({ logFile: file, logFormat: "{nonsense}", verbosity: 0 });
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(LogSetupError);
      expect(error instanceof Error && error.cause).toBeInstanceOf(LogTemplateError);
    }
  });
});
