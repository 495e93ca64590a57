import { readFileSync } from "node:fs";

declare const self: Worker;

/** Answers each path with the code that reading it fails with, or "ok". */
self.onmessage = ({ data }: MessageEvent<string>) => {
  try {
    readFileSync(data);
    self.postMessage("ok");
  } catch (error) {
    self.postMessage(error instanceof Error && "code" in error ? error.code : String(error));
  }
};
