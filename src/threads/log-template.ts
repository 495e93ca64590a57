/** Levels of log records, the gravest first. */
export const LOG_LEVELS = ["error", "warn", "info", "debug", "trace"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** One thing to log. */
export interface LogRecord {
  readonly level: LogLevel;
  /** Part of the VMM that it is about. */
  readonly target: string;
  readonly message: string;
}

/** Where and when a record is made. */
export interface LogContext {
  /** Empty for a thread without a name. */
  readonly threadName: string;
  readonly threadId: number;
  /** Nanoseconds since logging started. */
  readonly uptimeNs: () => number;
  /** Microseconds since 1970 UTC. */
  readonly wallClockUs: () => number;
  /** Local time less UTC. */
  readonly zoneOffsetMinutes: number;
}

/** A template that cannot be read. */
export class LogTemplateError extends Error {
  override readonly name = "LogTemplateError";
}

type Render = (record: LogRecord, context: LogContext) => string;

const digits = (value: number, width: number) => String(value).padStart(width, "0");

/** The fields of a point in time, in UTC or in local time. */
interface Time {
  readonly date: Date;
  readonly micros: number;
  readonly offsetMinutes: number;
}

function timeAt({ wallClockUs, zoneOffsetMinutes }: LogContext, local: boolean): Time {
  const us = wallClockUs();
  const offsetMinutes = local ? zoneOffsetMinutes : 0;
  return { date: new Date(Math.floor(us / 1000) + offsetMinutes * 60_000), micros: us % 1_000_000, offsetMinutes };
}

/** Fields of a time by their names; the UTC methods read local time off a date that was shifted to it. */
const TIME_FIELDS: Readonly<Record<string, (time: Time) => string>> = {
  year: ({ date }) => digits(date.getUTCFullYear(), 4),
  month: ({ date }) => digits(date.getUTCMonth() + 1, 2),
  day: ({ date }) => digits(date.getUTCDate(), 2),
  hour: ({ date }) => digits(date.getUTCHours(), 2),
  minute: ({ date }) => digits(date.getUTCMinutes(), 2),
  second: ({ date }) => digits(date.getUTCSeconds(), 2),
  micros: ({ micros }) => digits(micros, 6),
  offset: ({ offsetMinutes }) => {
    const minutes = Math.abs(offsetMinutes);
    return `${offsetMinutes < 0 ? "-" : "+"}${digits(Math.floor(minutes / 60), 2)}:${digits(minutes % 60, 2)}`;
  },
  glog: (time) => {
    const field = (name: string) => TIME_FIELDS[name]?.(time) ?? "";
    return `${field("month")}${field("day")} ${field("hour")}:${field("minute")}:${field("second")}.${field("micros")}`;
  },
};

function rfc3339({ date, micros }: Time): string {
  return `${date.toISOString().slice(0, -"mmmZ".length)}${digits(micros, 6)}Z`;
}

const FIELDS: Readonly<Record<string, Render>> = {
  boottime: (_, { uptimeNs }) => (uptimeNs() / 1e9).toFixed(6).padStart(10),
  wallclock: (_, context) => rfc3339(timeAt(context, false)),
  thread: (_, { threadName }) => threadName || "anonymous",
  level: ({ level }) => level.toUpperCase(),
  levelchar: ({ level }) => level.slice(0, 1).toUpperCase(),
  location: ({ target }) => target,
  msg: ({ message }) => message,
  pid: () => String(process.pid),
  tid: (_, { threadId }) => String(threadId),
};

function fieldOf(token: string): Render {
  const field = Object.hasOwn(FIELDS, token) ? FIELDS[token] : undefined;
  if (field !== undefined) return field;
  const local = token.startsWith("local");
  const name = local ? token.slice("local".length) : token;
  const timeField = Object.hasOwn(TIME_FIELDS, name) ? TIME_FIELDS[name] : undefined;
  if (timeField === undefined) throw new LogTemplateError(`unknown token '{${token}}' in the log format`);
  return (_, context) => timeField(timeAt(context, local));
}

/** What Cloud Hypervisor logs by default. */
export const DEFAULT_LOG_TEMPLATE = "cloud-hypervisor: {boottime}s: <{thread}> {level}:{location} -- {msg}";

/**
 * Compiles the template of a log line: text with tokens in braces; `{{` and `}}` are literal braces.
 * @returns the formatter, whose lines end with CR LF
 * @throws LogTemplateError
 */
export function compileLogTemplate(template: string): Render {
  const parts: (string | Render)[] = [];
  let position = 0;
  for (const match of template.matchAll(/\{\{|\}\}|\{([^{}]*)\}|[{}]/g)) {
    const [text, token] = match;
    parts.push(template.slice(position, match.index));
    position = match.index + text.length;
    if (token !== undefined) parts.push(fieldOf(token));
    else if (text.length === 2) parts.push(text.slice(1));
    else if (text === "{") throw new LogTemplateError(`unclosed '{' in the log format '${template}'`);
    else throw new LogTemplateError(`lone '}' in the log format '${template}', write '}}' for a brace`);
  }
  parts.push(template.slice(position));
  return (record, context) => {
    let line = "";
    for (const part of parts) line += typeof part === "string" ? part : part(record, context);
    return `${line}\r\n`;
  };
}
