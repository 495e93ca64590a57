import { HTTP_LIMITS } from "../../../src/api/http/limits.ts";
import { HttpParseError, type ParsedItem, RequestParser } from "../../../src/api/http/request-parser.ts";
import type { FuzzTarget } from "../engine/target.ts";

/** Small enough for inputs to reach. */
const LIMITS = { ...HTTP_LIMITS, bodyBytes: 300, fds: 4 };

/** What the pieces of a connection come to, the error included. */
function outcome(pieces: readonly Uint8Array[]): string {
  const parser = new RequestParser(LIMITS);
  const found: ParsedItem[] = [];
  let error = "";
  try {
    for (const piece of pieces) parser.push(piece, [], found);
  } catch (thrown) {
    if (!(thrown instanceof HttpParseError)) throw thrown;
    error = `${thrown.isRecoverable} ${thrown.message}`;
  }
  const items = found.map((item) =>
    item.kind === "continue"
      ? item.version
      : [item.request.method, item.request.path, Buffer.from(item.request.body).toString("latin1")],
  );
  return JSON.stringify([items, error, parser.isPartial]);
}

export const target: FuzzTarget = {
  what: "the bytes of an HTTP connection, which come to the same however they are cut",
  maxBytes: 4096,
  dictionary: [
    "GET /a HTTP/1.1\r\n",
    "PUT /a HTTP/1.0\r\n",
    "PATCH ",
    "DELETE ",
    "http://h/",
    "Content-Length: ",
    "3\r\n",
    "4294967296",
    "Expect: 100-continue\r\n",
    "Accept-Encoding: *;q=0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\0",
    "\xff",
    "a".repeat(1000),
  ],
  seeds: () => ["\x05PUT /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nX: y\r\n\r\n"],
  open: () => (input) => {
    const step = 1 + input.u8();
    const bytes = input.rest();
    const pieces: Uint8Array[] = [];
    for (let at = 0; at < bytes.length; at += step) pieces.push(bytes.subarray(at, at + step));
    const whole = outcome([bytes]);
    const cut = outcome(pieces);
    if (whole !== cut) throw new Error(`${whole} at once, ${cut} in pieces of ${step}`);
  },
};
