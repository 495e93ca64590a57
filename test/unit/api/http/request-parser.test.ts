import { describe, expect, test } from "bun:test";
import { HTTP_LIMITS } from "../../../../src/api/http/limits.ts";
import { HttpParseError, type ParsedItem, pathOf, RequestParser } from "../../../../src/api/http/request-parser.ts";
import { Random } from "../../random.ts";

const bytes = (text: string) => Buffer.from(text, "latin1");

/** What a connection's bytes, cut in pieces, come to: each item in words, or the error. */
function parse(pieces: readonly string[], limits = HTTP_LIMITS): string[] {
  const parser = new RequestParser(limits);
  const found: ParsedItem[] = [];
  const shown: string[] = [];
  try {
    for (const piece of pieces) parser.push(bytes(piece), [], found);
  } catch (error) {
    if (!(error instanceof HttpParseError)) throw error;
    shown.push(`${error.isRecoverable ? "request line" : "headers"}: ${error.message}`);
  }
  const items = found.map((item) =>
    item.kind === "continue"
      ? `100 ${item.version}`
      : `${item.request.method} ${item.request.path} ${Buffer.from(item.request.body).toString("latin1")}`.trim(),
  );
  return [...items, ...shown, ...(parser.isPartial && shown.length === 0 ? ["..."] : [])];
}

describe("requests", () => {
  test.each([
    ["GET /a HTTP/1.1\r\n\r\n", ["GET /a"]],
    ["GET /a HTTP/1.0\r\n\r\n", ["GET /a"]],
    ["PUT /a HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", ["PUT /a abc"]],
    ["GET /a HTTP/1.1\r\ncontent-LENGTH:3\r\n\r\nabc", ["GET /a abc"]],
    ["PUT /a HTTP/1.1\r\nContent-Length: 0\r\n\r\n", ["PUT /a"]],
    ["PUT /a HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", ["PUT /a abc"]],
    ["PATCH /a HTTP/1.1\r\n\r\nDELETE /b HTTP/1.1\r\n\r\n", ["PATCH /a", "DELETE /b"]],
    ["PUT /a HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET /b HTTP/1.1\r\n\r\n", ["PUT /a x", "GET /b"]],
    ["PUT /a HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n", ["100 HTTP/1.1", "..."]],
    ["PUT /a HTTP/1.0\r\nExpect: 100-Continue\r\nContent-Length: 1\r\n\r\nx", ["100 HTTP/1.0", "PUT /a x"]],
    ["GET /a HTTP/1.1\r\nExpect: 100-continue\r\n\r\n", ["GET /a"]],
    ["GET /a HTTP/1.1\r\nExpect: tea\r\nX: y\r\nHost: h\r\nConnection: close\r\n\r\n", ["GET /a"]],
    ["GET http://host/a?b HTTP/1.1\r\n\r\n", ["GET /a?b"]],
    ["GET /a HTTP/1.1\r\nAccept-Encoding: gzip, *;q=0, identity\r\n\r\n", ["GET /a"]],
    [`GET /${"a".repeat(1008)} HTTP/1.1\r\n\r\n`, [`GET /${"a".repeat(1008)}`]],
    ["GET /a HTTP/1.1\n\n", ["..."]],
    ["GET /a HTTP/1.1\r\nX: y\n\r\n", ["..."]],
    ["GET /a", ["..."]],
  ])("%j", (text, expected) => {
    expect(parse([text])).toEqual(expected);
    expect(parse([...text])).toEqual(expected);
  });

  test("paths of targets", () => {
    expect(["/", "/a//b/", "http://h", "http://h/", "https://h/a", "*", "a/b"].map(pathOf)).toEqual([
      "/",
      "/a//b/",
      "",
      "/",
      "",
      "",
      "",
    ]);
  });
});

describe("what is not a request", () => {
  test.each([
    "\r\n",
    "POST /a HTTP/1.1\r\n",
    "get /a HTTP/1.1\r\n",
    "GET  /a HTTP/1.1\r\n",
    "GET /a HTTP/1.1 \r\n",
    "GET /a HTTP/2\r\n",
    "GET /a http/1.1\r\n",
    "GET\r\n",
    "GET /a\r\n",
    `GET /${"a".repeat(1009)} HTTP/1.1\r\n`,
    "x".repeat(1025),
  ])("request line %j: another may follow", (line) => {
    const result = parse([line]);
    expect(result).toHaveLength(1);
    expect(result[0]).toStartWith("request line: ");
    const parser = new RequestParser(HTTP_LIMITS);
    const found: ParsedItem[] = [];
    expect(() => parser.push(bytes(line), [], found)).toThrow(HttpParseError);
    expect(parser.isPartial).toBe(false);
    parser.push(bytes("GET /b HTTP/1.1\r\n\r\n"), [], found);
    expect(found).toHaveLength(1);
  });

  test.each([
    "nonsense",
    `X: ${"y".repeat(1020)}`,
    "Content-Length: x",
    "Content-Length: -1",
    "Content-Length: 1.0",
    "Content-Length:",
    "Content-Length: 4294967296",
    "Content-Length: 4194305",
    "Content-Length: 1\r\nContent-Length: 2",
    "Accept-Encoding:",
    "Accept-Encoding: identity;q=0",
    "Accept-Encoding: gzip, *;q=0.0",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
    "X: y\r\n".repeat(11_000),
  ])("header %.40j: nothing can follow", (header) => {
    const result = parse([`PUT /a HTTP/1.1\r\n${header}\r\n\r\n`]);
    expect(result.at(-1)).toMatch(header.startsWith("Transfer") ? /^request line: / : /^headers: /);
  });

  test("a body of exactly the limit is taken", () => {
    const limits = { ...HTTP_LIMITS, bodyBytes: 5 };
    expect(parse(["PUT /a HTTP/1.1\r\nContent-Length: 5\r\n\r\n12345"], limits)).toEqual(["PUT /a 12345"]);
    expect(parse(["PUT /a HTTP/1.1\r\nContent-Length: 6\r\n\r\n"], limits)[0]).toStartWith(
      "headers: a body of 6 bytes",
    );
  });
});

describe("descriptors", () => {
  test("belong to the first request that ends after they came", () => {
    const parser = new RequestParser(HTTP_LIMITS);
    const found: ParsedItem[] = [];
    parser.push(bytes("PUT /a HTTP/1.1\r\n"), [50], found);
    parser.push(bytes("Content-Length: 1\r\n\r\n"), [51, 52], found);
    parser.push(bytes("xGET /b HTTP/1.1\r\n\r\n"), [53], found);
    expect(found.map((item) => item.kind === "request" && item.request.fds)).toEqual([[50, 51, 52, 53], []]);
    parser.push(bytes("G"), [54], found);
    expect(parser.takeFds()).toEqual([54]);
    expect(parser.takeFds()).toEqual([]);
  });

  test("are limited, and can be had back", () => {
    const parser = new RequestParser({ ...HTTP_LIMITS, fds: 2 });
    expect(() => parser.push(bytes("G"), [50, 51, 52], [])).toThrow(HttpParseError);
    expect(parser.takeFds()).toEqual([50, 51, 52]);
  });
});

const ROUNDS = 20_000;

test("random bytes, however they are cut, come to the same, and never to anything but an HttpParseError", () => {
  const random = new Random(0x477);
  const pieces: readonly [string, ...string[]] = [
    "GET /a HTTP/1.1\r\n",
    "PUT /api/v1/vm.create HTTP/1.1\r\n",
    "PUT /a HTTP/1.0\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 0\r\n",
    "Expect: 100-continue\r\n",
    "Accept-Encoding: *;q=0\r\n",
    "X: y\r\n",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    ":",
    "abc",
    "\0",
    "\xff",
    "a".repeat(900),
  ];
  let errors = 0;
  let requests = 0;
  for (let round = 0; round < ROUNDS; round++) {
    let text = "";
    for (let count = random.below(8); count >= 0; count--) text += random.pick(pieces);
    const whole = parse([text]);
    const cuts: string[] = [];
    for (let at = 0; at < text.length; ) {
      const length = 1 + random.below(40);
      cuts.push(text.slice(at, at + length));
      at += length;
    }
    expect(parse(cuts)).toEqual(whole);
    if (whole.at(-1)?.includes(": ")) errors++;
    if (whole.some((item) => item.startsWith("GET ") || item.startsWith("PUT "))) requests++;
  }
  expect(errors).toBeGreaterThan(ROUNDS / 10);
  expect(requests).toBeGreaterThan(ROUNDS / 50);
});
