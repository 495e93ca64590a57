import { mkdtemp, rm } from "node:fs/promises";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The guest did not take a connection. */
export class VsockRefusedError extends Error {
  override readonly name = "VsockRefusedError";
}

/** The host's end of a guest's socket device. */
export class VsockHost implements AsyncDisposable {
  /** Where the VMM listens. */
  readonly path: string;
  readonly #folder: string;
  readonly #servers: Server[] = [];
  readonly #sockets: Socket[] = [];

  private constructor(folder: string) {
    this.#folder = folder;
    this.path = join(folder, "v");
  }

  static async make(): Promise<VsockHost> {
    return new VsockHost(await mkdtemp(join(tmpdir(), "vsock-host-")));
  }

  /** For our VMM. */
  get options(): string[] {
    return ["--vsock", `cid=3,socket=${this.path}`];
  }

  /** Connects to a port of the guest. The socket is paused. @throws VsockRefusedError */
  async connect(port: number): Promise<Socket> {
    const socket = createConnection({ path: this.path, allowHalfOpen: true });
    this.#sockets.push(socket);
    const accepted = Promise.withResolvers<void>();
    let line = "";
    const listen = (chunk: Buffer): void => {
      line += chunk.toString("latin1");
      const end = line.indexOf("\n");
      if (end < 0) return;
      socket.off("data", listen).pause();
      const rest = line.slice(end + 1);
      if (rest !== "") socket.unshift(Buffer.from(rest, "latin1"));
      if (/^OK \d+$/.test(line.slice(0, end))) accepted.resolve();
      else accepted.reject(new VsockRefusedError(`the client was told '${line}'`));
    };
    const refuse = (): void => accepted.reject(new VsockRefusedError(`port ${port} is refused`));
    socket.on("data", listen);
    socket.once("end", refuse);
    socket.on("error", accepted.reject);
    socket.write(`CONNECT ${port}\n`);
    await accepted.promise;
    socket.off("end", refuse);
    return socket;
  }

  /** As `connect`, until the guest listens. */
  async connectWhenReady(port: number, timeoutMs: number): Promise<Socket> {
    const deadline = performance.now() + timeoutMs;
    for (;;) {
      try {
        return await this.connect(port);
      } catch (error) {
        if (!(error instanceof VsockRefusedError) || performance.now() > deadline) throw error;
        await Bun.sleep(50);
      }
    }
  }

  /** A server that the guest reaches at a port. */
  async serve(port: number, take: (socket: Socket) => void): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#sockets.push(socket);
      socket.on("error", () => undefined);
      take(socket);
    });
    this.#servers.push(server);
    await new Promise<void>((listening) => server.listen({ path: `${this.path}_${port}`, backlog: 128 }, listening));
  }

  /** An echo server that the guest reaches at a port. */
  serveEcho(port: number): Promise<void> {
    return this.serve(port, (socket) => socket.pipe(socket));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    for (const server of this.#servers) server.close();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

/** Sends bytes through a socket to an echo and returns what came back, once the other side has ended. */
export async function echo(socket: Socket, bytes: Uint8Array): Promise<Buffer> {
  const parts: Buffer[] = [];
  const ended = new Promise<void>((end, failed) => socket.on("end", end).on("error", failed));
  socket.on("data", (part: Buffer) => parts.push(part));
  socket.resume();
  socket.end(bytes);
  await ended;
  return Buffer.concat(parts);
}
