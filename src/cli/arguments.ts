import type { OptionName, OptionSpec } from "../config/options.ts";

/** A command line that breaks the rules of its grammar. The message has no trailing newline. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** An option that the parser may meet. */
export type KnownOption = OptionSpec & { readonly name: OptionName };

/** What a sequence of arguments says. */
export interface ParsedArguments {
  readonly values: ReadonlyMap<OptionName, readonly string[]>;
  /** How often `-v` was given. */
  readonly verbosity: number;
  /** Help was asked for: nothing after that was looked at. */
  readonly help: boolean;
}

/** A lone `-` is a value; anything else that begins with a dash is an option. */
function isValue(argument: string): boolean {
  return argument === "-" || !argument.startsWith("-");
}

function shown(option: OptionSpec): string {
  return option.name.length === 1 ? `-${option.name}` : `--${option.name}`;
}

class ArgumentParser {
  readonly #argv: readonly string[];
  readonly #long = new Map<string, KnownOption>();
  readonly #short = new Map<string, KnownOption>();
  readonly #values = new Map<OptionName, readonly string[]>();
  #verbosity = 0;
  #next = 0;

  constructor(argv: readonly string[], options: readonly KnownOption[]) {
    this.#argv = argv;
    for (const option of options) {
      if (option.name.length > 1) this.#long.set(option.name, option);
      const short = option.name.length === 1 ? option.name : option.short;
      if (short !== undefined) this.#short.set(short, option);
    }
  }

  parse(): ParsedArguments {
    while (this.#next < this.#argv.length) {
      const argument = this.#argv[this.#next++] ?? "";
      if (argument === "--") {
        const rest = this.#argv[this.#next];
        if (rest !== undefined) throw new UsageError(`unexpected argument '${rest}'`);
      } else if (argument.startsWith("--")) this.#parseLong(argument.slice(2));
      else if (isValue(argument)) throw new UsageError(`unexpected argument '${argument}'`);
      else this.#parseShort(argument.slice(1));
      if (this.#values.has("help")) break;
    }
    return { values: this.#values, verbosity: this.#verbosity, help: this.#values.has("help") };
  }

  #parseLong(text: string): void {
    const equals = text.indexOf("=");
    const name = equals < 0 ? text : text.slice(0, equals);
    const option = this.#long.get(name);
    if (option === undefined) throw new UsageError(`unexpected argument '--${name}'${this.#suggestion(name)}`);
    this.#take(option, equals < 0 ? undefined : text.slice(equals + 1));
  }

  /** One dash and any number of letters, each an option without a value. */
  #parseShort(letters: string): void {
    for (const letter of letters) {
      const option = this.#short.get(letter);
      if (option === undefined) throw new UsageError(`unexpected argument '-${letter}'`);
      this.#take(option, undefined);
      if (option.name === "help") return;
    }
  }

  /** @param attached the value after `=` */
  #take(option: KnownOption, attached: string | undefined): void {
    const name = shown(option);
    if (option.arity === "count") {
      this.#verbosity++;
      return;
    }
    const earlier = this.#values.get(option.name);
    if (earlier !== undefined && option.arity !== "many")
      throw new UsageError(`the argument '${name}' cannot be used multiple times`);
    if (option.arity === "flag") {
      if (attached !== undefined)
        throw new UsageError(`unexpected value '${attached}' for '${name}': it takes no value`);
      this.#values.set(option.name, []);
      return;
    }
    const values = attached === undefined ? this.#followingValues(option) : [attached];
    if (values.length === 0 && option.arity !== "optional")
      throw new UsageError(`a value is required for '${name}' but none was given`);
    for (const value of values)
      if (option.choices !== undefined && !option.choices.includes(value))
        throw new UsageError(`invalid value '${value}' for '${name}', possible values: ${option.choices.join(", ")}`);
    this.#values.set(option.name, [...(earlier ?? []), ...values]);
  }

  #followingValues(option: OptionSpec): string[] {
    const limit = option.arity === "many" ? Number.POSITIVE_INFINITY : 1;
    const values: string[] = [];
    while (values.length < limit) {
      const argument = this.#argv[this.#next];
      if (argument === undefined || !isValue(argument)) break;
      values.push(argument);
      this.#next++;
    }
    return values;
  }

  /** The option that a misspelt one was probably meant to be. */
  #suggestion(name: string): string {
    const near = [...this.#long.keys()].find((known) => name !== "" && (known.startsWith(name) || isNear(known, name)));
    return near === undefined ? "" : `, did you mean '--${near}'?`;
  }
}

/** Equal up to one letter added, left out, changed, or two neighbours exchanged. */
function isNear(a: string, b: string): boolean {
  if (Math.abs(a.length - b.length) > 1) return false;
  let i = 0;
  while (i < a.length && a[i] === b[i]) i++;
  if (a.length !== b.length) return a.length > b.length ? a.slice(i + 1) === b.slice(i) : a.slice(i) === b.slice(i + 1);
  if (a.slice(i + 1) === b.slice(i + 1)) return true;
  return a[i] === b[i + 1] && a[i + 1] === b[i] && a.slice(i + 2) === b.slice(i + 2);
}

/**
 * Reads arguments by the rules of `options`: which exist, how many values they take, how often they may be given. What the
 * values mean is not looked at, apart from fixed choices.
 * @throws UsageError
 */
export function parseArguments(argv: readonly string[], options: readonly KnownOption[]): ParsedArguments {
  return new ArgumentParser(argv, options).parse();
}
