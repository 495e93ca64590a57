import { afterEach, describe, expect, test } from "bun:test";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { guestLogger, isLogged, logger, logRecord, setLogger } from "../../../src/threads/log.ts";
import { fdSink } from "../../../src/threads/log-sink.ts";
import {
  compileLogTemplate,
  DEFAULT_LOG_TEMPLATE,
  LOG_LEVELS,
  type LogContext,
  type LogLevel,
  LogTemplateError,
} from "../../../src/threads/log-template.ts";

/** 2024-02-29 23:58:07.000042 UTC. */
const WALL_US = Date.UTC(2024, 1, 29, 23, 58, 7) * 1000 + 42;

const CONTEXT: LogContext = {
  threadName: "vcpu0",
  threadId: 4711,
  uptimeNs: () => 1_234_567_000,
  wallClockUs: () => WALL_US,
  zoneOffsetMinutes: -330,
};

function format(template: string, context: Partial<LogContext> = {}, level: LogLevel = "warn"): string {
  return compileLogTemplate(template)({ level, target: "block", message: "hello" }, { ...CONTEXT, ...context });
}

describe("template", () => {
  test("default", () =>
    expect(format(DEFAULT_LOG_TEMPLATE)).toBe("cloud-hypervisor:   1.234567s: <vcpu0> WARN:block -- hello\r\n"));

  for (const [token, text] of [
    ["boottime", "  1.234567"],
    ["wallclock", "2024-02-29T23:58:07.000042Z"],
    ["glog", "0229 23:58:07.000042"],
    ["localglog", "0229 18:28:07.000042"],
    ["year", "2024"],
    ["month", "02"],
    ["day", "29"],
    ["hour", "23"],
    ["minute", "58"],
    ["second", "07"],
    ["micros", "000042"],
    ["offset", "+00:00"],
    ["localyear", "2024"],
    ["localmonth", "02"],
    ["localday", "29"],
    ["localhour", "18"],
    ["localminute", "28"],
    ["localsecond", "07"],
    ["localmicros", "000042"],
    ["localoffset", "-05:30"],
    ["thread", "vcpu0"],
    ["level", "WARN"],
    ["levelchar", "W"],
    ["location", "block"],
    ["msg", "hello"],
    ["pid", String(process.pid)],
    ["tid", "4711"],
  ] as const)
    test(`{${token}}`, () => expect(format(`{${token}}`)).toBe(`${text}\r\n`));

  test("a thread without a name", () => expect(format("{thread}", { threadName: "" })).toBe("anonymous\r\n"));
  test("local time may be another year", () =>
    expect(
      format("{localyear}-{localmonth}-{localday}{localoffset}", {
        wallClockUs: () => Date.UTC(2023, 11, 31, 22) * 1000,
        zoneOffsetMinutes: 150,
      }),
    ).toBe("2024-01-01+02:30\r\n"));
  test("levels", () =>
    expect(LOG_LEVELS.map((level) => format("{level}{levelchar}", {}, level).trim())).toEqual([
      "ERRORE",
      "WARNW",
      "INFOI",
      "DEBUGD",
      "TRACET",
    ]));
  test("long up-times are not cut", () =>
    expect(format("{boottime}", { uptimeNs: () => 12_345_678.5e9 })).toBe("12345678.500000\r\n"));

  for (const [template, text] of [
    ["", ""],
    ["{{msg}}", "{msg}"],
    ["{{{msg}}}", "{hello}"],
    ["a{{b}}c", "a{b}c"],
    ["{msg}{msg}", "hellohello"],
    ["100%", "100%"],
  ] as const)
    test(`'${template}'`, () => expect(format(template)).toBe(`${text}\r\n`));

  for (const template of [
    "{",
    "{msg",
    "}",
    "msg}",
    "{unknown}",
    "{}",
    "{ msg}",
    "{MSG}",
    "{local}",
    "{localmsg}",
    "{constructor}",
    "{msg}}",
    "{{msg}",
  ])
    test(`'${template}' is refused`, () => expect(() => compileLogTemplate(template)).toThrow(LogTemplateError));
});

describe("logger", () => {
  const records: string[] = [];
  const set = (level: LogLevel, template: string) =>
    setLogger(
      { level, template, startNs: 1e9, zoneOffsetMinutes: 0, fd: 2 },
      { threadName: "t", threadId: 1, nowNs: () => 3.5e9, sink: (record) => records.push(record) },
    );
  afterEach(() => {
    records.length = 0;
    set("error", "");
  });

  test("a guest gets a few records a second, and then how many there were more", () => {
    let now = 5000;
    set("warn", "{location} {msg};");
    const log = guestLogger("virtio", () => now);
    for (let i = 0; i < 1000; i++) {
      log.error(`bad ring ${i}`);
      log.debug("not counted");
    }
    expect(records).toHaveLength(10);
    now += 999;
    log.warn("still");
    expect(records).toHaveLength(10);
    now += 1;
    log.warn("again");
    expect(records.slice(10).map((record) => record.trim())).toEqual([
      "virtio 991 more records were left out;",
      "virtio again;",
    ]);
  });

  test("logs what is grave enough", () => {
    for (const [index, threshold] of LOG_LEVELS.entries()) {
      records.length = 0;
      set(threshold, "{level}");
      const log = logger("x");
      for (const level of LOG_LEVELS) log[level]("message");
      expect(records.map((record) => record.trim())).toEqual(
        LOG_LEVELS.slice(0, index + 1).map((level) => level.toUpperCase()),
      );
      expect(LOG_LEVELS.filter(isLogged)).toEqual(LOG_LEVELS.slice(0, index + 1));
    }
  });

  test("has the target of its part and the time since the start", () => {
    set("info", "{boottime} {location} {msg}");
    logger("block").info("one");
    logRecord("warn", "net", "two");
    expect(records).toEqual(["  2.500000 block one\r\n", "  2.500000 net two\r\n"]);
  });

  test("makes only the messages that are logged", () => {
    set("info", "{msg}");
    const log = logger("x");
    log.debug(() => {
      throw new Error("made");
    });
    log.info(() => "lazy");
    expect(records).toEqual(["lazy\r\n"]);
  });

  test("tells the time of day to the microsecond", () => {
    set("info", "{wallclock}");
    const before = Date.now();
    for (let i = 0; i < 1000; i++) logRecord("info", "x", "");
    const after = Date.now();
    const times = records.map((record) => Date.parse(record.trim()));
    expect(Math.min(...times)).toBeGreaterThanOrEqual(before);
    expect(Math.max(...times)).toBeLessThanOrEqual(after);
    expect(new Set(records).size).toBeGreaterThan(after - before + 1);
  });
});

describe("sink", () => {
  const directory = mkdtempSync(join(tmpdir(), "log-sink-"));
  const write = (...records: string[]): string => {
    const path = join(directory, "log");
    const fd = openSync(path, "w");
    const sink = fdSink(fd);
    for (const record of records) sink(record);
    closeSync(fd);
    return readFileSync(path, "utf8");
  };
  test("writes records one after the other, as UTF-8", () =>
    expect(write("one\r\n", "zwölf ✓\r\n")).toBe("one\r\nzwölf ✓\r\n"));
  test("cuts a record of more than 64 KiB", () => expect(write("x".repeat(100_000))).toHaveLength(65536));
  test("loses what cannot be written", () => {
    const fd = openSync(join(directory, "log"), "r");
    expect(() => fdSink(fd)("x")).not.toThrow();
    closeSync(fd);
    rmSync(directory, { recursive: true });
  });
});
