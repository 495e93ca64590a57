import { isSecureExecution } from "../host/secure-execution.ts";

/** Variables that the runtime's parts read at their start, and that the build cannot take out of it. */
const RUNTIME_VARIABLE = /^(BUN|JSC|MIMALLOC)_/;

/** The runtime was set up by someone who has fewer privileges than it. */
export class RuntimeSettingsError extends Error {
  override readonly name = "RuntimeSettingsError";
}

/**
 * A process with privileges of its file's own does nothing for a caller who has changed how its runtime works.
 * @throws RuntimeSettingsError
 */
export function refuseForeignSettings(variables: Iterable<string>, isPrivileged = isSecureExecution): void {
  const foreign = [...variables].filter((name) => RUNTIME_VARIABLE.test(name));
  if (foreign.length === 0 || !isPrivileged()) return;
  throw new RuntimeSettingsError(
    `this executable has privileges of its own, and the environment changes its runtime: unset ${foreign.join(", ")}`,
  );
}
