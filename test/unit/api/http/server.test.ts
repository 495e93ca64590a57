import { describe, expect, test } from "bun:test";
import { closeSync, existsSync, fstatSync, openSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { ApiSocketError, openApiSocket } from "../../../../src/api/http/listen.ts";
import type { HttpRequest } from "../../../../src/api/http/request-parser.ts";
import { HttpServer } from "../../../../src/api/http/server.ts";
import { libc } from "../../../../src/host/libc.ts";
import { connectTo, listenAt, receive, send } from "../../../../src/host/unix-socket.ts";
import { openDescriptors } from "../../open-descriptors.ts";
import { defer, RawClient, serve, testFolder, testWatcher } from "./rig.ts";

const echo = ({ method, path, body }: HttpRequest) =>
  ({ status: 200, body: `${method} ${path} ${Buffer.from(body).toString("latin1")}`.trim() }) as const;

const GET = "GET /a HTTP/1.1\r\n\r\n";
const put = (path: string, body: string) => `PUT ${path} HTTP/1.1\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const bodyOf = (response: string) => response.slice(response.indexOf("\r\n\r\n") + 4);

/** What a plain socket gets next; the server is in this very thread, so that waiting in the kernel is no way. */
async function received(fd: number): Promise<string> {
  for (;;) {
    const message = receive(fd);
    if (message !== undefined) return Buffer.from(message.bytes).toString("latin1");
    await Bun.sleep(1);
  }
}

describe("responses, to the byte", () => {
  test("with a body", async () => {
    const client = new RawClient(serve(echo).path);
    client.write(GET);
    expect(await client.response()).toBe(
      "HTTP/1.1 200 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n" +
        "Content-Length: 6\r\n\r\nGET /a",
    );
  });

  test("without one", async () => {
    const { path } = serve(({ path: target }) => ({ status: target === "/204" ? 204 : 400, body: "" }));
    const client = new RawClient(path);
    client.write("GET /204 HTTP/1.1\r\n\r\n");
    expect(await client.response()).toBe(
      "HTTP/1.1 204 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\n\r\n",
    );
    client.write(GET);
    expect(await client.response()).toBe(
      "HTTP/1.1 400 \r\nServer: Cloud Hypervisor API\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n" +
        "Content-Length: 0\r\n\r\n",
    );
  });

  test("to a malformed request", async () => {
    const client = new RawClient(serve(echo).path);
    client.write("POST /a HTTP/1.1\r\n");
    const response = await client.response();
    expect(response).toStartWith(
      "HTTP/1.1 400 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\nContent-Type: application/json\r\n" +
        "Content-Length: ",
    );
    expect(bodyOf(response)).toMatch(/^\{ "error": "[^"]*\n[^"]*" \}$/);
    client.write(GET);
    expect(bodyOf(await client.response())).toBe("GET /a");
  });

  test("to a client beyond the limit", async () => {
    const { path, server } = serve(echo, { connections: 2 });
    const clients = [new RawClient(path), new RawClient(path)];
    for (const client of clients) {
      client.write(GET);
      await client.response();
    }
    const late = connectTo(path);
    expect(await received(late)).toBe(
      "HTTP/1.1 503\r\nServer: Firecracker API\r\nConnection: close\r\nContent-Length: 40\r\n\r\n" +
        '{ "error": "Too many open connections" }',
    );
    libc.close(late);
    expect(server.connections).toBe(2);
    clients[0]?.end();
    await clients[0]?.rest();
    const next = new RawClient(path);
    next.write(GET);
    expect(bodyOf(await next.response())).toBe("GET /a");
  });
});

describe("a connection", () => {
  test("stays for the next request, whatever it says about closing", async () => {
    const client = new RawClient(serve(echo).path);
    for (let i = 0; i < 50; i++) {
      client.write(put(`/${i}`, "x".repeat(i)).replace("\r\n", "\r\nConnection: close\r\n"));
      expect(bodyOf(await client.response())).toBe(`PUT /${i} ${"x".repeat(i)}`.trim());
    }
  });

  test("answers pipelined requests in order, slow ones too", async () => {
    const { path } = serve(async (request) => {
      if (request.path === "/slow") await new Promise((resolve) => setTimeout(resolve, 20));
      return echo(request);
    });
    const client = new RawClient(path);
    client.write(`GET /slow HTTP/1.1\r\n\r\n${put("/b", "body")}GET /slow HTTP/1.1\r\n\r\n${GET}`);
    const bodies = (await client.responses(4)).split(/HTTP\/1\.1 200 [\s\S]*?\r\n\r\n/).slice(1);
    expect(bodies).toEqual(["GET /slow", "PUT /b body", "GET /slow", "GET /a"]);
  });

  test("drops requests that came in one piece with a malformed one", async () => {
    let handled = 0;
    const { path } = serve((request) => {
      handled++;
      return echo(request);
    });
    const client = new RawClient(path);
    client.write(`${GET}${GET}POST / HTTP/1.1\r\n`);
    expect(await client.response()).toStartWith("HTTP/1.1 400 ");
    expect(handled).toBe(0);
  });

  test("is told to go on with its body, in its own version of HTTP", async () => {
    const client = new RawClient(serve(echo).path);
    client.write("PUT /a HTTP/1.0\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    expect(await client.response()).toBe("HTTP/1.0 100 \r\nServer: Firecracker API\r\nConnection: keep-alive\r\n\r\n");
    client.write("body");
    expect(bodyOf(await client.response())).toBe("PUT /a body");
  });

  test("takes a body of 4 MiB, and refuses one byte more before it comes", async () => {
    const { path } = serve(({ body }) => ({ status: 200, body: String(body.length) }));
    const client = new RawClient(path);
    client.write(put("/a", "x".repeat(4 << 20)));
    expect(bodyOf(await client.response())).toBe(String(4 << 20));
    client.write(`PUT /a HTTP/1.1\r\nContent-Length: ${(4 << 20) + 1}\r\n\r\n`);
    expect(await client.rest()).toStartWith("HTTP/1.1 400 ");
  });

  test("with a body of 100 MiB gets its answer, however much it sends", async () => {
    const { path } = serve(echo);
    const client = new RawClient(path);
    client.write(`PUT /a HTTP/1.1\r\nContent-Length: ${100 << 20}\r\n\r\n`);
    const chunk = new Uint8Array(1 << 20);
    for (let sent = 0; sent < 100; sent++) if (!(await client.writeAll(chunk))) break;
    expect(await client.response()).toStartWith("HTTP/1.1 400 ");
  });

  test("gets large answers as fast as it takes them", async () => {
    const { path } = serve(() => ({ status: 200, body: "x".repeat(8 << 20) }));
    const client = new RawClient(path);
    client.write(GET + GET);
    expect((await client.responses(2)).length).toBeGreaterThan(16 << 20);
  });
});

describe("clients that do not play along", () => {
  test("one that dawdles is cut off; others do not notice", async () => {
    const { path, server } = serve(echo, { requestMs: 100 });
    const slow = new RawClient(path);
    slow.write("PUT /a HTTP/1.1\r\nContent-Le");
    const other = new RawClient(path);
    other.write(GET);
    expect(bodyOf(await other.response())).toBe("GET /a");
    expect(await slow.rest()).toBe("");
    expect(server.connections).toBe(1);
    other.write(GET);
    expect(bodyOf(await other.response())).toBe("GET /a");
  });

  test("one that trickles is cut off all the same", async () => {
    const { path } = serve(echo, { requestMs: 150 });
    const slow = new RawClient(path);
    slow.write("GET /a HTTP/1.1\r\n");
    const trickle = setInterval(() => slow.write("X: y\r\n"), 10);
    defer(() => clearInterval(trickle));
    expect(await slow.rest()).toBe("");
  });

  test("one that is idle stays", async () => {
    const { path } = serve(echo, { requestMs: 30 });
    const client = new RawClient(path);
    client.write(GET);
    await client.response();
    await new Promise((resolve) => setTimeout(resolve, 120));
    client.write(GET);
    expect(bodyOf(await client.response())).toBe("GET /a");
  });

  test("one that does not read its answers is cut off", async () => {
    const { path, server } = serve(() => ({ status: 200, body: "x".repeat(8 << 20) }), { responseMs: 100 });
    const fd = connectTo(path);
    send(fd, Buffer.from(GET), [], true);
    defer(() => libc.close(fd));
    const start = performance.now();
    while (server.connections === 0 || performance.now() - start < 100) await Bun.sleep(5);
    while (server.connections > 0 && performance.now() - start < 5000) await Bun.sleep(5);
    expect(server.connections).toBe(0);
  });

  test("headers without end are cut off", async () => {
    const client = new RawClient(serve(echo).path);
    client.write(`GET /a HTTP/1.1\r\n${"X: y\r\n".repeat(12_000)}`);
    expect(await client.rest()).toStartWith("HTTP/1.1 400 ");
  });

  test("garbage without end is cut off", async () => {
    const { path } = serve(echo, { badLines: 3, lingerMs: 50 });
    const client = new RawClient(path);
    for (let i = 0; i < 3; i++) {
      client.write("x".repeat(2000));
      expect(await client.response()).toStartWith("HTTP/1.1 400 ");
    }
    expect(await client.rest()).toBe("");
  });

  test("one that leaves while its request runs is no harm", async () => {
    const started = Promise.withResolvers<void>();
    const go = Promise.withResolvers<void>();
    const { path, server } = serve(async (request) => {
      if (request.path === "/wait") {
        started.resolve();
        await go.promise;
      }
      return echo(request);
    });
    const client = new RawClient(path);
    client.write("GET /wait HTTP/1.1\r\n\r\n");
    await started.promise;
    client.close();
    go.resolve();
    const other = new RawClient(path);
    other.write(GET);
    expect(bodyOf(await other.response())).toBe("GET /a");
    while (server.connections > 1) await Bun.sleep(1);
  });
});

describe("descriptors", () => {
  /** How many descriptors of this process are of files in a folder. */
  const openIn = (folder: string) =>
    [...openDescriptors()].reduce((sum, [what, count]) => (what.startsWith(folder) ? sum + count : sum), 0);

  /** Sends a request in pieces, each with descriptors, and waits for the answer. */
  function exchange(fd: number, pieces: readonly (readonly [string, readonly number[]])[]): Promise<string> {
    for (const [text, fds] of pieces) send(fd, Buffer.from(text), fds, true);
    return received(fd);
  }

  test("arrive in order, and are closed when nobody took them", async () => {
    const inodes: number[][] = [];
    const { path } = serve((request) => {
      inodes.push(request.fds.map((fd) => fstatSync(fd).ino));
      return echo(request);
    });
    const folder = testFolder();
    const files = ["a", "b", "c"].map((name) => openSync(join(folder, name), "w"));
    const [a = -1, b = -1, c = -1] = files;
    const ino = (fd: number) => fstatSync(fd).ino;
    const fd = connectTo(path);
    await exchange(fd, [[GET, []]]);
    await exchange(fd, [
      ["PUT /a HTTP/1.1\r\n", [a]],
      ["Content-Length: 2\r\n\r\nx", [b, c]],
      ["y", []],
    ]);
    await exchange(fd, [[GET, []]]);
    expect(inodes).toEqual([[], [ino(a), ino(b), ino(c)], []]);
    expect(openIn(folder)).toBe(files.length);
    for (const file of [...files, fd]) closeSync(file);
  });

  test("are the handler's when it takes them", async () => {
    let taken: number[] = [];
    const { path } = serve((request) => {
      taken = request.fds.splice(0);
      return echo(request);
    });
    const fd = connectTo(path);
    const file = openSync("/dev/null", "r");
    await exchange(fd, [[GET, [file, file]]]);
    expect(taken).toHaveLength(2);
    for (const open of [...taken, file, fd]) closeSync(open);
  });

  test("of a request that is refused or never ends are closed", async () => {
    const { path, server } = serve(echo);
    const folder = testFolder();
    const file = openSync(join(folder, "file"), "w");
    for (const text of ["POST / HTTP/1.1\r\n", `${GET}nonsense\r\n`, "PUT /a HTTP/1.1\r\nContent-Le"]) {
      const fd = connectTo(path);
      send(fd, Buffer.from(text), [file, file], true);
      closeSync(fd);
    }
    while (server.connections > 0 || openIn(folder) > 1) await Bun.sleep(1);
    closeSync(file);
  });
});

describe("the socket", () => {
  test("is its owner's alone, and goes when the server does", () => {
    const { path, server } = serve(echo);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    server.close(true);
    expect(existsSync(path)).toBe(false);
    expect(existsSync(`${path}.lock`)).toBe(true);
  });

  test("of a process that lives is not taken away", () => {
    const { path } = serve(echo);
    expect(() => openApiSocket({ path })).toThrow(/belongs to another process/);
    expect(existsSync(path)).toBe(true);
  });

  test("that somebody listens on without a lock is not taken away", async () => {
    const path = join(testFolder(), "s");
    const other = createServer().listen(path);
    defer(() => other.close());
    await new Promise((resolve) => other.once("listening", resolve));
    expect(() => openApiSocket({ path })).toThrow(/another process listens/);
  });

  test("that nobody listens on is replaced", async () => {
    const path = join(testFolder(), "s");
    libc.close(listenAt(path, 1));
    expect(existsSync(path)).toBe(true);
    const server = new HttpServer(openApiSocket({ path }), testWatcher(), echo);
    defer(() => server.close(true));
    const client = new RawClient(path);
    client.write(GET);
    expect(bodyOf(await client.response())).toBe("GET /a");
  });

  test("replaces an empty file and no other", () => {
    const path = join(testFolder(), "s");
    writeFileSync(path, "precious");
    expect(() => openApiSocket({ path })).toThrow(ApiSocketError);
    expect(readFileSync(path, "utf8")).toBe("precious");
    writeFileSync(path, "");
    openApiSocket({ path }).close(true);
  });

  test("cannot be where nothing can", () => {
    expect(() => openApiSocket({ path: "/nonexistent/s" })).toThrow(/cannot listen for API clients at/);
    expect(() => openApiSocket({ path: `/tmp/${"x".repeat(200)}` })).toThrow(ApiSocketError);
  });

  test("can be inherited", async () => {
    const path = join(testFolder(), "s");
    const fd = listenAt(path, 5);
    const server = new HttpServer(openApiSocket({ fd }), testWatcher(), echo);
    defer(() => server.close(true));
    const client = new RawClient(path);
    client.write(GET);
    expect(bodyOf(await client.response())).toBe("GET /a");
  });

  test("must listen when it is inherited", () => {
    const fd = openSync("/dev/null", "r");
    expect(() => openApiSocket({ fd })).toThrow(/no listening socket/);
    closeSync(fd);
    expect(() => openApiSocket({ fd: 9999 })).toThrow(ApiSocketError);
  });
});

test("a server that ends lets clients have their last answers", async () => {
  const go = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const { path, server } = serve(async (request) => {
    started.resolve();
    await go.promise;
    return echo(request);
  });
  const client = new RawClient(path);
  client.write(GET);
  await started.promise;
  const finished = server.finish(true);
  go.resolve();
  await finished;
  expect(bodyOf(await client.rest())).toBe("GET /a");
});
