import { waitWritable } from "../host/poll.ts";

/** Writes all of a text before it returns. Where nobody takes it, there is nobody to tell either. */
export function print(stream: "stdout" | "stderr", text: string): void {
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
      else if (code !== "EINTR") return;
    }
  }
}
