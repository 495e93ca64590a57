import { acceptsIdentity } from "./accept-encoding.ts";
import type { HttpLimits } from "./limits.ts";

export const METHODS = ["GET", "PUT", "PATCH", "DELETE"] as const;
export type Method = (typeof METHODS)[number];
type Version = "HTTP/1.1" | "HTTP/1.0";

/** A complete request. */
export interface HttpRequest {
  readonly method: Method;
  /** From the first slash on, any query included; empty when the target has no path. */
  readonly path: string;
  /** Empty when there is none. */
  readonly body: Uint8Array;
  /** Descriptors that came with it, in order. Whoever handles the request takes what it keeps out of the list. */
  readonly fds: number[];
}

/** What a client is to get next, in order. */
export type ParsedItem =
  | { readonly kind: "request"; readonly request: HttpRequest }
  | { readonly kind: "continue"; readonly version: Version };

/** A request that is not HTTP as the server speaks it. */
export class HttpParseError extends Error {
  override readonly name = "HttpParseError";
  /** The error is in the request line, so that the next line can be another request; else the connection is lost. */
  readonly isRecoverable: boolean;

  constructor(message: string, isRecoverable: boolean) {
    super(message);
    this.isRecoverable = isRecoverable;
  }
}

/** The request whose headers or body are being read. */
interface Head {
  readonly method: Method;
  readonly path: string;
  readonly version: Version;
  contentLength: number | undefined;
  expectsContinue: boolean;
  headerBytes: number;
}

const CR = 13;
const LF = 10;
const NOTHING = new Uint8Array(0);
const MAX_U32 = 0xffff_ffff;
const ABSOLUTE = "http://";

/** The path of a request target (RFC 9112, section 3.2): origin form, or absolute form of any host. */
export function pathOf(target: string): string {
  if (target.startsWith("/")) return target;
  if (!target.startsWith(ABSOLUTE)) return "";
  const slash = target.indexOf("/", ABSOLUTE.length);
  return slash < 0 ? "" : target.slice(slash);
}

/** ASCII as text; bytes above it become characters that no token contains. */
function text(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

function isMethod(text: string): text is Method {
  return METHODS.some((method) => method === text);
}

/** Cuts the bytes of one connection into requests, as they come. */
export class RequestParser {
  readonly #limits: HttpLimits;
  /** The beginning of a line that has not ended. */
  #rest: Uint8Array = NOTHING;
  #head: Head | undefined;
  #body: { readonly bytes: Uint8Array; filled: number } | undefined;
  #fds: number[] = [];

  constructor(limits: HttpLimits) {
    this.#limits = limits;
  }

  /** A request has begun and not ended. */
  get isPartial(): boolean {
    return this.#rest.length > 0 || this.#head !== undefined;
  }

  /** Takes the descriptors that belong to no request, to be closed. */
  takeFds(): readonly number[] {
    return this.#fds.splice(0);
  }

  /**
   * Takes what one read brought.
   * @param bytes not kept
   * @param fds belong to the next request that ends
   * @param found gets what has become complete
   * @throws HttpParseError; the rest of `bytes` is lost then
   */
  push(bytes: Uint8Array, fds: readonly number[], found: ParsedItem[]): void {
    this.#fds.push(...fds);
    if (this.#fds.length > this.#limits.fds) this.#fail(`more than ${this.#limits.fds} file descriptors`);
    let at = 0;
    while (at < bytes.length)
      at = this.#body === undefined ? this.#line(bytes, at, found) : this.#fill(bytes, at, found);
  }

  /** Reads up to the end of a line or of the bytes. @returns where it got */
  #line(bytes: Uint8Array, start: number, found: ParsedItem[]): number {
    const rest = this.#rest;
    const end = lineEnd(rest, bytes, start);
    const length = rest.length + (end ?? bytes.length) - start;
    if (length > this.#limits.lineBytes) return this.#lineTooLong();
    if (end === undefined) {
      this.#rest = rest.length === 0 ? bytes.slice(start) : joined(rest, bytes.subarray(start));
      return bytes.length;
    }
    const whole = rest.length === 0 ? bytes.subarray(start, end) : joined(rest, bytes.subarray(start, end));
    this.#rest = NOTHING;
    const line = text(whole.subarray(0, whole.length - 2));
    if (this.#head === undefined) this.#head = this.#requestLine(line);
    else if (line !== "") this.#headerLine(this.#head, line);
    else this.#endOfHeaders(this.#head, found);
    return end;
  }

  #lineTooLong(): never {
    const what = this.#head === undefined ? "request" : "header";
    return this.#fail(`a ${what} line of more than ${this.#limits.lineBytes} bytes`);
  }

  #fail(reason: string): never {
    this.#rest = NOTHING;
    throw new HttpParseError(reason, this.#head === undefined);
  }

  #requestLine(line: string): Head {
    const [method = "", target, version, ...rest] = line.split(" ");
    if (!isMethod(method)) return this.#fail("an unknown method, expected GET, PUT, PATCH or DELETE");
    if (target === undefined || target === "" || rest.length > 0) return this.#fail("a malformed request line");
    if (version !== "HTTP/1.1" && version !== "HTTP/1.0") return this.#fail("an unknown version of HTTP");
    const path = pathOf(target);
    return { method, path, version, contentLength: undefined, expectsContinue: false, headerBytes: 0 };
  }

  #headerLine(head: Head, line: string): void {
    head.headerBytes += line.length + 2;
    if (head.headerBytes > this.#limits.headerBytes)
      this.#fail(`headers of more than ${this.#limits.headerBytes} bytes`);
    const colon = line.indexOf(":");
    if (colon < 0) this.#fail("a header line without a colon");
    const value = line.slice(colon + 1).trim();
    switch (line.slice(0, colon).trim().toLowerCase()) {
      case "content-length":
        head.contentLength = this.#contentLength(head, value);
        return;
      case "expect":
        if (value.toLowerCase() === "100-continue") head.expectsContinue = true;
        return;
      case "accept-encoding":
        if (!acceptsIdentity(value)) this.#fail("an Accept-Encoding that refuses a response as it is");
    }
  }

  #contentLength(head: Head, value: string): number {
    const length = /^\+?\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
    if (!(length <= MAX_U32)) this.#fail("a Content-Length that is no number of 32 bits");
    if (length > this.#limits.bodyBytes)
      this.#fail(`a body of ${length} bytes, at most ${this.#limits.bodyBytes} are taken`);
    if (head.contentLength !== undefined && head.contentLength !== length)
      this.#fail("two Content-Lengths that differ");
    return length;
  }

  #endOfHeaders(head: Head, found: ParsedItem[]): void {
    const length = head.contentLength ?? 0;
    if (length === 0) {
      this.#complete(head, NOTHING, found);
      return;
    }
    if (head.expectsContinue) found.push({ kind: "continue", version: head.version });
    this.#body = { bytes: new Uint8Array(length), filled: 0 };
  }

  #fill(bytes: Uint8Array, start: number, found: ParsedItem[]): number {
    const head = this.#head;
    const body = this.#body;
    if (head === undefined || body === undefined) throw new Error("a body without a request");
    const end = Math.min(bytes.length, start + body.bytes.length - body.filled);
    body.bytes.set(bytes.subarray(start, end), body.filled);
    body.filled += end - start;
    if (body.filled === body.bytes.length) this.#complete(head, body.bytes, found);
    return end;
  }

  #complete({ method, path }: Head, body: Uint8Array, found: ParsedItem[]): void {
    this.#head = undefined;
    this.#body = undefined;
    found.push({ kind: "request", request: { method, path, body, fds: this.#fds.splice(0) } });
  }
}

/** Where the line that `rest` begins ends in `bytes`, past its CRLF; undefined when it does not. */
function lineEnd(rest: Uint8Array, bytes: Uint8Array, start: number): number | undefined {
  if (rest.at(-1) === CR && bytes[start] === LF) return start + 1;
  for (let at = bytes.indexOf(LF, start); at >= 0; at = bytes.indexOf(LF, at + 1))
    if (at > start && bytes[at - 1] === CR) return at + 1;
  return undefined;
}

function joined(first: Uint8Array, second: Uint8Array): Uint8Array {
  const all = new Uint8Array(first.length + second.length);
  all.set(first);
  all.set(second, first.length);
  return all;
}
