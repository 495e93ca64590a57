/** An option of the command line whose value is wrong. The cause says how. */
export class OptionError extends Error {
  override readonly name = "OptionError";
  /** With its dashes: `--disk`. */
  readonly option: string;

  constructor(option: string, cause: unknown) {
    super(`error in the value of ${option}`, { cause });
    this.option = option;
  }
}

/** The options do not describe a virtual machine. The cause is an `OptionError`. */
export class ConfigurationError extends Error {
  override readonly name = "ConfigurationError";
}

/** A configuration that is well formed and cannot work. `rule` names the broken rule for programs. */
export class ValidationError extends Error {
  override readonly name = "ValidationError";
  readonly rule: string;

  constructor(rule: string, message: string) {
    super(message);
    this.rule = rule;
  }
}

/** A configuration that is valid and asks for something that this version of the VMM does not have. */
export class UnsupportedError extends Error {
  override readonly name = "UnsupportedError";
  /** What was asked for, as on the command line: `--net`, `--disk backing_files`. */
  readonly features: readonly string[];

  constructor(features: readonly string[]) {
    super(`not supported by this version: ${features.join(", ")}`);
    this.features = features;
  }
}
