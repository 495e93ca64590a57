import { isTerminal, terminalSize } from "../../../host/tty.ts";
import { print } from "../../print.ts";
import { CommandValueError, type Values } from "../commands.ts";
import { frame } from "./frame.ts";
import { lineText } from "./line.ts";
import { type LiveOptions, showLive } from "./live.ts";
import { viewOf } from "./rates.ts";
import { SampleSource } from "./source.ts";

const STDOUT = 1;
const SUCCESS = 0;
const DEFAULT_SECONDS = 2;
const MIN_SECONDS = 0.1;
const MAX_SECONDS = 3600;
const PLAIN_COLUMNS = 120;

function interval(values: Values): number {
  const text = values.get("--interval");
  if (text === undefined) return DEFAULT_SECONDS * 1000;
  const seconds = /^\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (seconds >= MIN_SECONDS && seconds <= MAX_SECONDS) return seconds * 1000;
  throw new CommandValueError(`the value of --interval is '${text}', not ${MIN_SECONDS} to ${MAX_SECONDS} seconds`);
}

function frames(values: Values): number {
  const text = values.get("--iterations");
  if (text === undefined) return Number.POSITIVE_INFINITY;
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (count > 0) return count;
  throw new CommandValueError(`the value of --iterations is '${text}', not a number from 1`);
}

/** Prints frames one below the other, each of what happened in the interval before it. */
async function printFrames(source: SampleSource, { intervalMs, frames: count, unicode }: LiveOptions): Promise<number> {
  const columns = terminalSize(STDOUT)?.columns || PLAIN_COLUMNS;
  let before = await source.sample();
  for (let printed = 0; printed < count; printed++) {
    await Bun.sleep(intervalMs);
    const now = await source.sample();
    const lines = frame(viewOf(now, before), { columns, rows: Number.POSITIVE_INFINITY, unicode });
    const text = lines.map((line) => `${lineText(line, false)}\n`).join("");
    // Where nobody reads any more there is nothing left to do.
    if (!print("stdout", printed === 0 ? text : `\n${text}`)) break;
    before = now;
  }
  return SUCCESS;
}

const isUtf8 = ({ LC_ALL, LC_CTYPE, LANG }: NodeJS.ProcessEnv): boolean =>
  /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || "");

/**
 * Shows what a VM does: on the whole terminal, or line by line where that is asked for or there is none.
 * @returns the exit status
 * @throws CommandValueError; ApiConnectionError when there is no VMM, or not any more
 */
export async function top(socket: string, values: Values): Promise<number> {
  const { env } = process;
  const dumb = (env["TERM"] || "dumb") === "dumb";
  const options: LiveOptions = {
    intervalMs: interval(values),
    frames: frames(values),
    // no-color.org: any value but an empty one.
    colour: !env["NO_COLOR"],
    unicode: isUtf8(env),
  };
  const source = new SampleSource(socket);
  const plain = values.has("--batch") || dumb || !isTerminal(STDOUT);
  return await (plain ? printFrames(source, options) : showLive(source, options));
}
