import { CMDLINE_BYTES } from "../layout.ts";
import { BootSpaceError } from "./errors.ts";

/**
 * The kernel command line as it lies in guest memory: UTF-8 with a NUL at its end.
 * @throws BootSpaceError where it is too long or contains a NUL
 */
export function encodeCmdline(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(`${text}\0`);
  if (bytes.indexOf(0) !== bytes.length - 1)
    throw new BootSpaceError("the kernel command line contains a NUL character");
  if (bytes.length > CMDLINE_BYTES)
    throw new BootSpaceError(
      `the kernel command line of ${bytes.length - 1} bytes is too long: --cmdline takes at most ${CMDLINE_BYTES - 1}`,
    );
  return bytes;
}
