/** A status that the API sends. */
export type Status = 200 | 204 | 400 | 404 | 409 | 429 | 500;

const JSON_TYPE = "application/json";

/** What a request is answered with. */
export interface HttpResponse {
  readonly status: Status;
  /** Possibly empty. JSON in ASCII, unless `contentType` says what else it is. */
  readonly body: string;
  readonly contentType?: string;
}

const API = "Cloud Hypervisor API";
/** What existing clients see before a request has been routed. */
const TRANSPORT = "Firecracker API";

/**
 * The bytes of a response: rest-api.md, section 1.3. There is no reason phrase, because a client takes everything after the
 * version for the number.
 */
function bytesOf(status: number, server: string, body: string, type = JSON_TYPE): Uint8Array {
  const head = `HTTP/1.1 ${status} \r\nServer: ${server}\r\nConnection: keep-alive\r\n`;
  const content = status === 204 ? "" : `Content-Type: ${type}\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`;
  return Buffer.from(`${head}${content}\r\n${body}`);
}

/** A response of the API. */
export function apiResponse({ status, body, contentType }: HttpResponse): Uint8Array {
  return bytesOf(status, API, body, contentType);
}

/** The interim response to `Expect: 100-continue`. */
export function continueResponse(version: string): Uint8Array {
  return Buffer.from(`${version} 100 \r\nServer: ${TRANSPORT}\r\nConnection: keep-alive\r\n\r\n`, "latin1");
}

/** To what is not HTTP as the server speaks it. Its body looks like JSON and is none, as clients know it. */
export function parseErrorResponse(reason: string): Uint8Array {
  const notice = "requests sent before it and not answered yet are dropped";
  return bytesOf(400, TRANSPORT, `{ "error": "${reason.replaceAll(/["\\]/g, "'")}\n${notice}" }`);
}

/** To a connection beyond the limit. */
export function tooManyConnectionsResponse(): Uint8Array {
  const body = '{ "error": "Too many open connections" }';
  const head = `HTTP/1.1 503\r\nServer: ${TRANSPORT}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`;
  return Buffer.from(`${head}${body}`, "latin1");
}
