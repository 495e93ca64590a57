import { waitWritable } from "../host/poll.ts";

/** Writes all of a text before it returns. @returns false where nobody takes it: then there is nobody to tell either */
export function print(stream: "stdout" | "stderr", text: string): boolean {
  // A VMM that starts has nothing to print and does not wait for this module.
  const { writeSync } = process.getBuiltinModule("node:fs");
  const bytes = Buffer.from(text);
  const fd = stream === "stdout" ? 1 : 2;
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "EAGAIN") waitWritable(fd, -1);
      else if (code !== "EINTR") return false;
    }
  }
  return true;
}
