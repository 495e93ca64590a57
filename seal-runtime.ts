/**
 * Takes from a built executable what the Bun inside it would do for whoever sets an environment variable: run as another program, run
 * code, listen for a debugger, write files. Bun has no option for this, so the names of the variables are taken out of it: their
 * first byte becomes NUL, and no variable has an empty name.
 */
export const SEALED_VARIABLES = [
  // Be the bun command itself.
  "BUN_BE_BUN",
  // More options for the command line, --preload among them.
  "BUN_OPTIONS",
  // Wait for a debugger, or look for one.
  "BUN_INSPECT",
  "BUN_INSPECT_CONNECT_TO",
  "BUN_INSPECT_PRELOAD",
  // Options for the compiler behind bun:ffi.
  "BUN_TCC_OPTIONS",
  // Write or read a file.
  "BUN_BYTECODE_DIGEST_OUT",
  "BUN_BYTECODE_ORDER_OUT",
  "BUN_BYTECODE_ORDER_NAMES_OUT",
  "BUN_RUNTIME_TRANSPILER_CACHE_PATH",
  "BUN_TRACE",
  // Send a report of a crash somewhere.
  "BUN_CRASH_REPORT_URL",
  // Show what only Bun's own tests may use.
  "BUN_FEATURE_FLAG_INTERNAL_FOR_TESTING",
] as const;

/**
 * Seals an executable in memory.
 * @throws Error when a name is not in it: another Bun has to be looked at anew
 */
export function sealRuntime(executable: Buffer): void {
  for (const name of SEALED_VARIABLES) replaceFirstByte(executable, name, name, 0);
}

/** Takes the seal off, to see what it keeps away. @throws Error when a name is not in the executable */
export function unsealRuntime(executable: Buffer): void {
  for (const name of SEALED_VARIABLES) replaceFirstByte(executable, name, `\0${name.slice(1)}`, name.charCodeAt(0));
}

function replaceFirstByte(executable: Buffer, name: string, text: string, byte: number): void {
  const needle = Buffer.from(`${text}\0`, "latin1");
  let found = 0;
  for (let at = executable.indexOf(needle); at >= 0; at = executable.indexOf(needle, at + needle.length)) {
    // The end of a longer name is not this name.
    if (/\w/.test(String.fromCharCode(executable[at - 1] ?? 0))) continue;
    executable[at] = byte;
    found++;
  }
  if (found === 0) throw new Error(`this Bun does not know ${name}: find out what became of it (seal-runtime.ts)`);
}
