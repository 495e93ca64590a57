import { ConfigurationError, OptionError } from "./errors.ts";
import { OptionTextError } from "./grammar/errors.ts";
import { GivenKeys, readKeys } from "./grammar/given-keys.ts";
import { givenKeys, keysOf, parseOption } from "./schema/object-schema.ts";
import { type RestoreConfig, restoreSchema } from "./schema/restore.ts";
import { i32, path } from "./schema/value-types.ts";
import { apiSocketSchema, eventMonitorSchema, type GdbOptions, gdbSchema } from "./schema/vmm.ts";

/** Something to open, or a file descriptor inherited from the parent process. */
export type Endpoint = { readonly path: string } | { readonly fd: number };

/** Runs a parser, naming the option that its errors are about. @throws OptionError */
export function inOption<T>(option: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw error instanceof OptionTextError ? new OptionError(option, error) : error;
  }
}

/**
 * The value of `--api-socket`: `fd=`, `path=`, or anything else as a bare path. Nothing in it is a syntax error.
 * @throws OptionError when `fd` is not a number
 */
export function parseApiSocket(text: string): Endpoint {
  const values = new Map<string, string>();
  try {
    readKeys(text, new Map(keysOf(apiSocketSchema).map((key) => [key.name, key])), (key, value) =>
      values.set(key, value),
    );
  } catch (error) {
    // A path may well look like a malformed option; what was read before the error still counts.
    if (!(error instanceof OptionTextError)) throw error;
  }
  const given = new GivenKeys(values);
  const fd = inOption("--api-socket", () => given.value("fd", i32.parse));
  return fd === undefined ? { path: given.value("path", path.parse) ?? text } : { fd };
}

/** The value of `--event-monitor`. @throws OptionError */
export function parseEventMonitor(text: string): Endpoint {
  return inOption("--event-monitor", () => {
    const given = givenKeys(eventMonitorSchema, text);
    if (given.has("fd")) return { fd: given.required("fd", i32.parse) };
    return { path: given.required("path", path.parse) };
  });
}

/** The value of `--gdb`. @throws OptionError */
export function parseGdb(text: string): GdbOptions {
  return inOption("--gdb", () => parseOption(gdbSchema, text));
}

/** The value of `--restore`. @throws ConfigurationError */
export function parseRestore(text: string): RestoreConfig {
  try {
    return inOption("--restore", () => parseOption(restoreSchema, text));
  } catch (error) {
    throw new ConfigurationError("error parsing what to restore", { cause: error });
  }
}
