import { afterEach } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RequestHandler } from "../../../../src/api/http/connection.ts";
import { HTTP_LIMITS, type HttpLimits } from "../../../../src/api/http/limits.ts";
import { openApiSocket } from "../../../../src/api/http/listen.ts";
import { HttpServer } from "../../../../src/api/http/server.ts";
import { FdWatcher } from "../../../../src/threads/fd-watcher.ts";
import { WORKERS } from "../../../../src/workers.ts";

const cleanUps: (() => void)[] = [];
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0).reverse()) cleanUp();
});

/** Runs `cleanUp` when the test is over. */
export function defer(cleanUp: () => void): void {
  cleanUps.push(cleanUp);
}

export function testFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "api-"));
  defer(() => rmSync(folder, { recursive: true }));
  return folder;
}

export function testWatcher(): FdWatcher {
  const watcher = new FdWatcher("http-server", WORKERS.fdWatcher, undefined, (error) => {
    throw error;
  });
  defer(() => watcher.close());
  return watcher;
}

/** A server in a folder of its own. */
export function serve(handle: RequestHandler, limits: Partial<HttpLimits> = {}) {
  const path = join(testFolder(), "api.sock");
  const server = new HttpServer(openApiSocket({ path }), testWatcher(), handle, { ...HTTP_LIMITS, ...limits });
  defer(() => server.close(true));
  return { path, server };
}

/** A client that says exactly what it is told to, and collects what it gets. */
export class RawClient {
  readonly #socket: Socket;
  #text = "";
  #ended = false;
  #changed = Promise.withResolvers<void>();

  constructor(path: string) {
    this.#socket = createConnection({ path, allowHalfOpen: true });
    this.#socket.on("data", (data) => {
      this.#text += data.toString("latin1");
      this.#wake();
    });
    const end = () => {
      this.#ended = true;
      this.#wake();
    };
    this.#socket.on("end", end);
    this.#socket.on("close", end);
    this.#socket.on("error", end);
    defer(() => this.#socket.destroy());
  }

  /** Gives back what the client has got and not been asked for, when that fulfils the condition. */
  async take(isEnough: (text: string, ended: boolean) => boolean): Promise<string> {
    while (!isEnough(this.#text, this.#ended)) {
      if (this.#ended) throw new Error(`the connection ended after: ${JSON.stringify(this.#text)}`);
      await this.#changed.promise;
    }
    const text = this.#text;
    this.#text = "";
    return text;
  }

  write(data: string | Uint8Array): void {
    this.#socket.write(data);
  }

  /** Writes all of it and says whether the other side took it. */
  writeAll(data: Uint8Array): Promise<boolean> {
    return new Promise((resolve) => this.#socket.write(data, (error) => resolve(!error)));
  }

  /** One response. */
  response(): Promise<string> {
    return this.take((text) => isResponse(text, 1));
  }

  responses(count: number): Promise<string> {
    return this.take((text) => isResponse(text, count));
  }

  /** Everything up to the end of the connection. */
  rest(): Promise<string> {
    return this.take((_, ended) => ended);
  }

  end(): void {
    this.#socket.end();
  }

  close(): void {
    this.#socket.destroy();
  }

  #wake(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers<void>();
  }
}

/** Whether the text holds so many complete responses. */
function isResponse(text: string, count: number): boolean {
  let at = 0;
  for (let i = 0; i < count; i++) {
    const end = text.indexOf("\r\n\r\n", at);
    if (end < 0) return false;
    const length = /Content-Length: (\d+)/.exec(text.slice(at, end))?.[1] ?? "0";
    at = end + 4 + Number(length);
    if (text.length < at) return false;
  }
  return true;
}
