import {
  ConversionError,
  Expected,
  InvalidValueError,
  MissingKeyError,
  OptionSyntaxError,
  UnknownKeyError,
} from "./errors.ts";
import { splitAtCommas } from "./text.ts";

/** What the grammar must know of a key. */
export interface KeyGrammar {
  /** The key is a word that stands alone, such as `off`; whatever follows a `=` is ignored. */
  readonly valueless?: true;
  /** Not shown to users. */
  readonly hidden?: true;
}

/** Turns a raw value into its meaning. @throws Expected */
export type ValueParser<T> = (raw: string) => T;

/** The keys found in an option string, with their values as written. Of a repeated key the last one counts. */
export class GivenKeys {
  readonly #values: ReadonlyMap<string, string>;
  readonly #warnings: string[];

  constructor(values: ReadonlyMap<string, string>, warnings: string[] = []) {
    this.#values = values;
    this.#warnings = warnings;
  }

  /** True when the key was given, be it with an empty value. */
  has(key: string): boolean {
    return this.#values.has(key);
  }

  /** The value as written, quotes included; undefined when the key was not given, or given as `key=`. */
  raw(key: string): string | undefined {
    const value = this.#values.get(key);
    return value === "" ? undefined : value;
  }

  /** The value, or undefined when the key was not given. @throws ConversionError */
  value<T>(key: string, parse: ValueParser<T>): T | undefined {
    const raw = this.raw(key);
    if (raw === undefined) return undefined;
    try {
      return parse(raw);
    } catch (error) {
      if (error instanceof Expected) throw new ConversionError(key, raw, error.message);
      throw error;
    }
  }

  /** The value of a key that must be given. @throws MissingKeyError @throws ConversionError */
  required<T>(key: string, parse: ValueParser<T>): T {
    const value = this.value(key, parse);
    if (value === undefined) throw new MissingKeyError(key);
    return value;
  }

  /**
   * The value of a key that has an older name. The new name wins; the old one makes a warning.
   * @throws ConversionError
   */
  renamed<T>(key: string, oldKey: string, parse: ValueParser<T>): T | undefined {
    if (this.has(oldKey)) this.#warnings.push(`key '${oldKey}' is deprecated, use '${key}'`);
    return this.value(key, parse) ?? this.value(oldKey, parse);
  }

  /** Fails with an explanation. @throws InvalidValueError always */
  invalid(explanation: string): never {
    throw new InvalidValueError(explanation);
  }
}

function shownKeys(keys: ReadonlyMap<string, KeyGrammar>): string[] {
  return [...keys].filter(([, { hidden }]) => !hidden).map(([name]) => name);
}

/**
 * Reads `key=value,key=value` from left to right up to the first error. Blanks around the whole and around values are
 * dropped, those around keys are not.
 * @param onKey told of each key as it is read, those before an error included
 * @throws UnknownKeyError @throws OptionSyntaxError
 */
export function readKeys(
  text: string,
  keys: ReadonlyMap<string, KeyGrammar>,
  onKey: (key: string, value: string) => void,
): void {
  const trimmed = text.trim();
  if (trimmed === "") return;
  for (const item of splitAtCommas(trimmed)) {
    const equals = item.indexOf("=");
    const key = equals < 0 ? item : item.slice(0, equals);
    const grammar = keys.get(key);
    if (grammar === undefined) throw new UnknownKeyError(key, shownKeys(keys));
    if (equals < 0 && !grammar.valueless)
      throw new OptionSyntaxError(item, `'${key}' needs a value, as in ${key}=<value>`);
    onKey(key, equals < 0 ? "" : item.slice(equals + 1).trim());
  }
}
