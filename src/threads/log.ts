import { compileLogTemplate, LOG_LEVELS, type LogContext, type LogLevel } from "./log-template.ts";

/** How the whole process logs. Can be sent to another thread. */
export interface LogSettings {
  /** The least grave level that is logged. */
  readonly level: LogLevel;
  readonly template: string;
  /** When logging started, on the clock of `LogThread.nowNs`. */
  readonly startNs: number;
  /** Local time less UTC, read once for the whole process. */
  readonly zoneOffsetMinutes: number;
  /** File descriptor of the log. */
  readonly fd: number;
}

/** The thread that logs. */
export interface LogThread {
  readonly threadName: string;
  /** The kernel's id of the thread. */
  readonly threadId: number;
  /** Nanoseconds of a clock that all threads share. */
  readonly nowNs: () => number;
  /** Takes one record at a time, line end included, and must not throw. */
  readonly sink: (record: string) => void;
}

/** A message, or how to make it: not called when the level is not logged. */
export type LogMessage = string | (() => string);

/** Logs about one part of the VMM. */
export interface Logger {
  readonly error: (message: LogMessage) => void;
  readonly warn: (message: LogMessage) => void;
  readonly info: (message: LogMessage) => void;
  readonly debug: (message: LogMessage) => void;
  readonly trace: (message: LogMessage) => void;
}

let threshold = -1;
let write: (level: LogLevel, target: string, message: string) => void = () => undefined;

/** The wall clock in microseconds: `Date.now()` says which millisecond, the monotonic clock where in it. */
function makeWallClock(): () => number {
  let offsetMs = Date.now() - performance.now();
  return () => {
    const wholeMs = Date.now();
    const ms = offsetMs + performance.now();
    if (ms >= wholeMs && ms < wholeMs + 1) return Math.floor(ms * 1000);
    offsetMs += wholeMs - ms;
    return wholeMs * 1000;
  };
}

/**
 * Sets up the calling thread's logging; before, nothing is logged.
 * @throws LogTemplateError
 */
export function setLogger(settings: LogSettings, thread: LogThread): void {
  const format = compileLogTemplate(settings.template);
  const { threadName, threadId, nowNs, sink } = thread;
  const context: LogContext = {
    threadName,
    threadId,
    uptimeNs: () => nowNs() - settings.startNs,
    wallClockUs: makeWallClock(),
    zoneOffsetMinutes: settings.zoneOffsetMinutes,
  };
  threshold = LOG_LEVELS.indexOf(settings.level);
  write = (level, target, message) => sink(format({ level, target, message }, context));
}

/** True when records of this level are logged. */
export function isLogged(level: LogLevel): boolean {
  return LOG_LEVELS.indexOf(level) <= threshold;
}

/** Logs one record, when its level is logged. */
export function logRecord(level: LogLevel, target: string, message: LogMessage): void {
  if (isLogged(level)) write(level, target, typeof message === "string" ? message : message());
}

/** A logger for one part of the VMM. @param target the part's name, as `{location}` shows it */
export function logger(target: string): Logger {
  const at = (level: LogLevel) => (message: LogMessage) => logRecord(level, target, message);
  return { error: at("error"), warn: at("warn"), info: at("info"), debug: at("debug"), trace: at("trace") };
}

/** Records that a guest can bring about, in a second of one thread. */
const GUEST_RECORDS = 10;
const WINDOW_MS = 1000;

/**
 * A logger for what a guest can bring about as often as it likes: a few records a second go into the log, and then how many
 * more there were.
 * @param now milliseconds of a clock
 */
export function guestLogger(target: string, now: () => number = () => performance.now()): Logger {
  let windowStart = Number.NEGATIVE_INFINITY;
  let count = 0;
  const at =
    (level: LogLevel) =>
    (message: LogMessage): void => {
      if (!isLogged(level)) return;
      const time = now();
      if (time - windowStart >= WINDOW_MS) {
        if (count > GUEST_RECORDS) write("warn", target, `${count - GUEST_RECORDS} more records were left out`);
        windowStart = time;
        count = 0;
      }
      if (++count <= GUEST_RECORDS) logRecord(level, target, message);
    };
  return { error: at("error"), warn: at("warn"), info: at("info"), debug: at("debug"), trace: at("trace") };
}

/** The logger of the VMM as a whole. */
export const log = logger("vmm");
