import { libc } from "../../host/libc.ts";
import { connectTo, receive, send } from "../../host/unix-socket.ts";
import { BASE_PATH, type EndpointName } from "../rest/endpoints.ts";

/** What a server answered. */
export interface ApiReply {
  readonly status: number;
  /** Empty when there was none. */
  readonly body: string;
}

/** The connection to the API failed, or what came over it is no answer. */
export class ApiConnectionError extends Error {
  override readonly name = "ApiConnectionError";
}

/** Far more than any answer of the API. */
const MAX_REPLY_BYTES = 8 << 20;
const END_OF_HEAD = "\r\n\r\n";
const CONTINUE = 100;

/** One request of the API. */
export interface ApiRequest {
  readonly method: "GET" | "PUT";
  readonly endpoint: EndpointName;
  readonly body?: string;
  /** Go with the first bytes; they stay open here. */
  readonly fds?: readonly number[];
}

/** A connection to the API's socket. Each request waits in the kernel for its answer: for programs that do nothing else. */
export class ApiClient {
  readonly #fd: number;
  /** What has been received and not used. */
  #received = Buffer.alloc(0);

  /** @throws ApiConnectionError */
  constructor(path: string) {
    try {
      this.#fd = connectTo(path);
    } catch (cause) {
      throw new ApiConnectionError(`cannot connect to ${path}: is a VMM running with --api-socket ${path}?`, { cause });
    }
  }

  close(): void {
    libc.close(this.#fd);
  }

  /** Sends a request and waits for its answer, whatever that is. @throws ApiConnectionError */
  request({ method, endpoint, body, fds = [] }: ApiRequest): ApiReply {
    const content = body === undefined ? "" : `Content-Length: ${Buffer.byteLength(body)}\r\n`;
    const head = `${method} ${BASE_PATH}${endpoint} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n${content}\r\n`;
    try {
      this.#send(Buffer.from(head + (body ?? "")), fds);
      for (;;) {
        const reply = this.#reply();
        if (reply.status !== CONTINUE) return reply;
      }
    } catch (cause) {
      if (cause instanceof ApiConnectionError) throw cause;
      throw new ApiConnectionError("the connection to the VMM broke", { cause });
    }
  }

  #send(bytes: Uint8Array, fds: readonly number[]): void {
    for (let at = 0; at < bytes.length; ) at += send(this.#fd, bytes.subarray(at), at === 0 ? fds : [], true);
  }

  #reply(): ApiReply {
    while (!this.#received.includes(END_OF_HEAD)) this.#receive();
    const headBytes = this.#received.indexOf(END_OF_HEAD);
    const head = this.#received.toString("latin1", 0, headBytes);
    const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |\r|$)/.exec(head)?.[1] ?? Number.NaN);
    if (Number.isNaN(status)) throw new ApiConnectionError("the answer is not that of a VMM");
    const length = Number(/\r\nContent-Length: *(\d{1,10})(?:\r|$)/i.exec(head)?.[1] ?? 0);
    const start = headBytes + END_OF_HEAD.length;
    if (start + length > MAX_REPLY_BYTES) throw new ApiConnectionError(`an answer of ${length} bytes`);
    while (this.#received.length < start + length) this.#receive();
    const body = this.#received.toString("utf8", start, start + length);
    this.#received = this.#received.subarray(start + length);
    return { status, body };
  }

  #receive(): void {
    const message = receive(this.#fd, true);
    if (message === undefined || message.bytes.length === 0)
      throw new ApiConnectionError("the VMM closed the connection without an answer");
    for (const fd of message.fds) libc.close(fd);
    this.#received = Buffer.concat([this.#received, message.bytes]);
    if (this.#received.length > MAX_REPLY_BYTES) throw new ApiConnectionError("an answer without end");
  }
}
