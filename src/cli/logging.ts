import { type ConsolaInstance, createConsola, type LogType } from "consola/core";
import { monotonicNs } from "../host/clock.ts";
import { createFile } from "../host/create-file.ts";
import { type LogSettings, logRecord, setLogger } from "../threads/log.ts";
import { fdSink } from "../threads/log-sink.ts";
import { DEFAULT_LOG_TEMPLATE, type LogLevel, LogTemplateError } from "../threads/log-template.ts";
import { errorDebugText } from "./error-chain.ts";
import type { RunRequest } from "./parse.ts";

/** The log could not be set up. The cause says why. */
export class LogSetupError extends Error {
  override readonly name = "LogSetupError";
}

/** Levels of `-v`, `-vv` and so on. */
const VERBOSITY: readonly LogLevel[] = ["warn", "info", "debug", "trace"];

/** The level that a number of `-v` stands for. */
export function levelOf(verbosity: number): LogLevel {
  return VERBOSITY[Math.min(verbosity, VERBOSITY.length - 1)] ?? "trace";
}

/** Our levels of consola's message types; all others inform. */
const TYPE_LEVELS: Readonly<Partial<Record<LogType, LogLevel>>> = {
  fatal: "error",
  error: "error",
  fail: "error",
  warn: "warn",
  debug: "debug",
  trace: "trace",
  verbose: "trace",
};

/** `consola` numbers its levels from 0 for errors to 5 for traces; its type `verbose` is above all numbers. */
const CONSOLA_LEVELS: Readonly<Record<LogLevel, number>> = {
  error: 0,
  warn: 1,
  info: 3,
  debug: 4,
  trace: Number.POSITIVE_INFINITY,
};

function messageOf(args: readonly unknown[]): string {
  return args
    .map((arg) => (typeof arg === "string" ? arg : arg instanceof Error ? errorDebugText(arg) : Bun.inspect(arg)))
    .join(" ");
}

/** The main thread's consola. Its records take the same way as those of every other thread. */
function makeConsola(level: LogLevel): ConsolaInstance {
  return createConsola({
    level: CONSOLA_LEVELS[level],
    // Every record counts: repeated ones are not held back.
    throttle: Number.NEGATIVE_INFINITY,
    reporters: [
      { log: ({ type, tag, args }) => logRecord(TYPE_LEVELS[type] ?? "info", tag || "cli", messageOf(args)) },
    ],
  });
}

const STDERR = 2;

function openLog(path: string | undefined): number {
  if (path === undefined) return STDERR;
  try {
    return createFile(path);
  } catch (error) {
    throw new LogSetupError(`cannot create the log file '${path}'`, { cause: error });
  }
}

/** What logging came to. */
export interface Logging {
  readonly consola: ConsolaInstance;
  /** For `setLogger` in other threads. */
  readonly settings: LogSettings;
}

/**
 * Opens the log and sets up the main thread's logging. Times in the log count from here.
 * @throws LogSetupError when the file cannot be created, or the format is wrong
 */
export function startLogging(request: Pick<RunRequest, "logFile" | "logFormat" | "verbosity">): Logging {
  const level = levelOf(request.verbosity);
  const template = request.logFormat ?? DEFAULT_LOG_TEMPLATE;
  // To learn the time zone takes longer than all else here: only where it is asked for.
  const settings: LogSettings = {
    level,
    template,
    startNs: monotonicNs(),
    zoneOffsetMinutes: /\{local/.test(template) ? -new Date().getTimezoneOffset() : 0,
    fd: openLog(request.logFile),
  };
  try {
    setLogger(settings, {
      threadName: "main",
      threadId: process.pid,
      nowNs: monotonicNs,
      sink: fdSink(settings.fd),
    });
  } catch (error) {
    if (!(error instanceof LogTemplateError)) throw error;
    throw new LogSetupError("cannot use the log format", { cause: error });
  }
  return { consola: makeConsola(level), settings };
}
