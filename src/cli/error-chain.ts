/** Longer chains are cut: a cause that points back to an earlier error never ends. */
export const MAX_LINKS = 32;

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** An error and its causes, outermost first. */
export function errorChain(error: unknown): readonly unknown[] {
  const chain: unknown[] = [error];
  let link = error;
  while (link instanceof Error && link.cause !== undefined && link.cause !== null && chain.length < MAX_LINKS) {
    link = link.cause;
    chain.push(link);
  }
  return chain;
}

/**
 * What a program prints on standard error when it fails.
 * @param component the program, as a person would call it
 */
export function failureText(error: unknown, component = "Cloud Hypervisor"): string {
  const texts = errorChain(error).map(textOf);
  const head = `Error: ${component} exited with the following `;
  if (texts.length === 1) return `${head}error:\n  ${texts[0]}\n`;
  return `${head}chain of errors:\n${texts.map((text, index) => `  ${index}: ${text}\n`).join("")}`;
}

function debugLink(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const fields = Object.entries(error).filter(([name]) => name !== "name" && name !== "cause");
  const shown = [["message", error.message], ...fields].map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  return `${error.name} { ${shown.join(", ")} }`;
}

/** Errors that only a defect of the program throws: where they come from is worth knowing. */
function isDefect(error: unknown): error is Error {
  return error instanceof TypeError || error instanceof ReferenceError || error instanceof RangeError;
}

/** An error with its fields and causes on one line, for the log; that of a defect is followed by its stack. */
export function errorDebugText(error: unknown): string {
  const chain = errorChain(error);
  const line = chain.map(debugLink).join(" caused by ");
  const root = chain.at(-1);
  return isDefect(root) && root.stack !== undefined ? `${line}\n${root.stack}` : line;
}
