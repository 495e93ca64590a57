import { SysError } from "../../host/errno.ts";
import { libc } from "../../host/libc.ts";
import { accept, send } from "../../host/unix-socket.ts";
import type { FdWatcher } from "../../threads/fd-watcher.ts";
import { logger } from "../../threads/log.ts";
import { Connection, type RequestHandler } from "./connection.ts";
import { HTTP_LIMITS, type HttpLimits } from "./limits.ts";
import type { ApiListener } from "./listen.ts";
import { tooManyConnectionsResponse } from "./response.ts";

const log = logger("api");

/** How long clients may take for their last answers when the VMM ends. */
const FINISH_MS = 1000;

/** Serves HTTP/1.1 to the clients of a listening UNIX socket, from the main thread's event loop. */
export class HttpServer {
  readonly #listener: ApiListener;
  readonly #watcher: FdWatcher;
  readonly #token: number;
  readonly #handle: RequestHandler;
  readonly #limits: HttpLimits;
  readonly #connections = new Set<Connection>();
  #closed = false;

  /** @throws SysError */
  constructor(listener: ApiListener, watcher: FdWatcher, handle: RequestHandler, limits: HttpLimits = HTTP_LIMITS) {
    this.#listener = listener;
    this.#watcher = watcher;
    this.#handle = handle;
    this.#limits = limits;
    this.#token = watcher.watch(listener.fd, () => this.#acceptAll());
  }

  /** Connections that are open. */
  get connections(): number {
    return this.#connections.size;
  }

  /**
   * Lets every client have the answers that are due, then closes.
   * @param unlink remove the socket's file
   */
  async finish(unlink: boolean): Promise<void> {
    const { promise: timeUp, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, FINISH_MS);
    await Promise.race([timeUp, Promise.all([...this.#connections].map((connection) => connection.whenIdle()))]);
    clearTimeout(timer);
    this.close(unlink);
  }

  /** Drops all connections and stops listening. @param unlink remove the socket's file */
  close(unlink: boolean): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const connection of this.#connections) connection.close();
    this.#watcher.unwatch(this.#listener.fd, this.#token);
    this.#listener.close(unlink);
  }

  #acceptAll(): void {
    try {
      for (let fd = accept(this.#listener.fd); fd !== undefined; fd = accept(this.#listener.fd)) this.#admit(fd);
    } catch (error) {
      // Out of descriptors, most likely: who waits gets another chance when a connection ends.
      if (!(error instanceof SysError)) throw error;
      log.warn(`cannot accept an API client: ${error.message}`);
    }
  }

  #admit(fd: number): void {
    if (this.#connections.size >= this.#limits.connections) {
      this.#turnAway(fd);
      return;
    }
    try {
      const connection = new Connection(fd, {
        watcher: this.#watcher,
        handle: this.#handle,
        limits: this.#limits,
        onClose: (closed) => {
          this.#connections.delete(closed);
          if (!this.#closed) this.#acceptAll();
        },
      });
      this.#connections.add(connection);
    } catch (error) {
      libc.close(fd);
      throw error;
    }
  }

  #turnAway(fd: number): void {
    try {
      send(fd, tooManyConnectionsResponse());
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      log.debug(() => `a client left before it was turned away: ${error.message}`);
    } finally {
      libc.close(fd);
    }
  }
}
