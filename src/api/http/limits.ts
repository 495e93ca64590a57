/** What one client can take up. rest-api.md, sections 1.2 and 1.7, and what keeps a client from holding up others. */
export interface HttpLimits {
  /** Of the request line and of each header line, CRLF included. */
  readonly lineBytes: number;
  /** Of all header lines of a request. */
  readonly headerBytes: number;
  readonly bodyBytes: number;
  /** Connections at a time. */
  readonly connections: number;
  /** Descriptors that one request may bring. */
  readonly fds: number;
  /** From a request's first byte to its last. */
  readonly requestMs: number;
  /** For a client to take what it has been sent. */
  readonly responseMs: number;
  /** For a client to close a connection that was given up, so that it sees the last response. */
  readonly lingerMs: number;
  /** Malformed request lines in a row. */
  readonly badLines: number;
}

export const HTTP_LIMITS: HttpLimits = {
  lineBytes: 1024,
  headerBytes: 64 << 10,
  bodyBytes: 4 << 20,
  connections: 10,
  fds: 1024,
  requestMs: 30_000,
  responseMs: 30_000,
  lingerMs: 2_000,
  badLines: 16,
};
