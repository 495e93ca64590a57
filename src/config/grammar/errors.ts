/** Base of every way in which an option string can be wrong. The message is for the user; the fields are for programs. */
export abstract class OptionTextError extends Error {}

/** A key that the option does not have. */
export class UnknownKeyError extends OptionTextError {
  override readonly name = "UnknownKeyError";
  readonly key: string;

  constructor(key: string, knownKeys: Iterable<string>) {
    const known = [...knownKeys].join(", ");
    super(`unknown option '${key}'${known === "" ? "" : `, expected one of: ${known}`}`);
    this.key = key;
  }
}

/** Text that cannot be split into keys and values: an item without `=`, or quotes or brackets out of balance. */
export class OptionSyntaxError extends OptionTextError {
  override readonly name = "OptionSyntaxError";
  readonly text: string;

  constructor(text: string, reason: string) {
    super(`invalid syntax in '${text}': ${reason}`);
    this.text = text;
  }
}

/** A value that is not of its key's type. */
export class ConversionError extends OptionTextError {
  override readonly name = "ConversionError";
  readonly key: string;
  /** The value as it was given, quotes included. */
  readonly raw: string;

  constructor(key: string, raw: string, expected: string) {
    super(`cannot convert '${raw}' given for '${key}': expected ${expected}`);
    this.key = key;
    this.raw = raw;
  }
}

/** Keys and values that are each well formed but make no sense. */
export class InvalidValueError extends OptionTextError {
  override readonly name = "InvalidValueError";
}

/** A key that must be given and was not, or was given empty. */
export class MissingKeyError extends OptionTextError {
  override readonly name = "MissingKeyError";
  readonly key: string;

  constructor(key: string) {
    super(`'${key}' is missing: give ${key}=<value>`);
    this.key = key;
  }
}

/** Conversion of one of the keys that all PCI devices share failed; the cause says which and why. */
export class PciKeysError extends OptionTextError {
  override readonly name = "PciKeysError";

  constructor(cause: OptionTextError) {
    super("error in the common PCI settings", { cause });
  }
}

/**
 * What a value parser throws: only what would have been right, since a parser does not know the key it works for. The
 * reader of the option turns it into a `ConversionError`.
 */
export class Expected extends Error {
  override readonly name = "Expected";
}
