import { mkdtemp, rm } from "node:fs/promises";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PayloadError, type PayloadProcess } from "./process.ts";
import { startOnVmm, type VmmOptions } from "./vmm.ts";

/** Ports of the payload `vsock`. */
export const ECHO_PORT = 7;
export const QUIT_PORT = 9;

/** The host's end of a guest's socket device. */
export class VsockHost implements AsyncDisposable {
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

  get options(): string[] {
    return ["--vsock", `cid=3,socket=${this.path}`];
  }

  /** Starts the payload `vsock` and waits until it is ready. */
  async start(cmdline = "", options: VmmOptions = {}): Promise<PayloadProcess> {
    const guest = await startOnVmm("vsock", {
      ...options,
      cmdline,
      extra: [...this.options, ...(options.extra ?? [])],
    });
    await guest.nextLine((line) => line === "READY cid=3");
    return guest;
  }

  /** Connects to a port of the guest. @throws PayloadError when it refuses */
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
      else accepted.reject(new PayloadError(`the client was told '${line}'`));
    };
    socket.on("data", listen);
    socket.on("end", () => accepted.reject(new PayloadError(`port ${port} is refused`)));
    socket.on("error", accepted.reject);
    socket.write(`CONNECT ${port}\n`);
    await accepted.promise;
    return socket;
  }

  /** An echo server that the guest reaches at a port. */
  async serveEcho(port: number): Promise<void> {
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      this.#sockets.push(socket);
      socket.on("error", () => undefined);
      socket.pipe(socket);
    });
    this.#servers.push(server);
    await new Promise<void>((listening) => server.listen({ path: `${this.path}_${port}`, backlog: 128 }, listening));
  }

  /** Has the payload `vsock` end. */
  async quit(): Promise<void> {
    (await this.connect(QUIT_PORT)).destroy();
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
