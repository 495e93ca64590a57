import { EpollEvent } from "../../host/epoll.ts";
import { SysError } from "../../host/errno.ts";
import { libc } from "../../host/libc.ts";
import { endSending, receive, send } from "../../host/unix-socket.ts";
import type { FdWatcher } from "../../threads/fd-watcher.ts";
import { logger } from "../../threads/log.ts";
import type { HttpLimits } from "./limits.ts";
import { HttpParseError, type HttpRequest, type ParsedItem, RequestParser } from "./request-parser.ts";
import { apiResponse, continueResponse, type HttpResponse, parseErrorResponse } from "./response.ts";

const log = logger("api");

/** Answers a request, at once where that is possible. Must not throw. */
export type RequestHandler = (request: HttpRequest) => HttpResponse | Promise<HttpResponse>;

/** What a connection works with. */
export interface ConnectionHost {
  readonly watcher: FdWatcher;
  readonly handle: RequestHandler;
  readonly limits: HttpLimits;
  /** Told once, when the connection's descriptor is closed. */
  readonly onClose: (connection: Connection) => void;
}

/** Reads in a row before other work gets its turn: one client must not hold up the others. */
const READS_PER_TURN = 16;

function closeAll(fds: readonly number[]): void {
  for (const fd of fds) libc.close(fd);
}

/**
 * One client. Requests are answered one after the other, in order; nothing is read while an answer is due, so a client cannot
 * pile up work.
 */
export class Connection {
  readonly #fd: number;
  readonly #host: ConnectionHost;
  readonly #parser: RequestParser;
  readonly #token: number;
  readonly #items: ParsedItem[] = [];
  /** What the client has not taken yet. */
  #output: Uint8Array | undefined;
  /** There may be something to read: edge-triggered events come once. */
  #readable = true;
  #answering = false;
  readonly #idleWaiters: (() => void)[] = [];
  #badLines = 0;
  /** No request is taken any more; the client is given time to read the last response. */
  #lingering = false;
  #closed = false;
  #timer: Timer | undefined;
  #timerFor: "request" | "response" | "linger" | undefined;

  /** @param fd non-blocking, the connection's to close. @throws SysError */
  constructor(fd: number, host: ConnectionHost) {
    this.#fd = fd;
    this.#host = host;
    this.#parser = new RequestParser(host.limits);
    this.#token = host.watcher.watch(fd, (events) => this.#onReady(events));
  }

  /** Drops the connection. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#setTimer(undefined);
    closeAll(this.#parser.takeFds());
    this.#dropItems();
    this.#host.watcher.unwatch(this.#fd, this.#token);
    libc.close(this.#fd);
    this.#host.onClose(this);
  }

  #onReady(events: number): void {
    if (events & (EpollEvent.IN | EpollEvent.RDHUP | EpollEvent.HUP | EpollEvent.ERR)) this.#readable = true;
    this.#work();
  }

  /** Does what can be done, and stops where it has to wait. */
  #work(): void {
    try {
      for (let reads = 0; !this.#closed; ) {
        if (this.#answering) return;
        if (this.#output !== undefined && !this.#flush(this.#output)) return;
        const item = this.#items.shift();
        if (item !== undefined) this.#serve(item);
        else if (!this.#readable) {
          this.#watchTheClock();
          return;
        } else if (reads++ < READS_PER_TURN) this.#read();
        else {
          setImmediate(() => this.#work());
          return;
        }
      }
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      log.debug(() => `connection lost: ${error.message}`);
      this.close();
    } finally {
      if (!this.#isBusy) for (const resolve of this.#idleWaiters.splice(0)) resolve();
    }
  }

  get #isBusy(): boolean {
    return !this.#closed && (this.#answering || this.#output !== undefined);
  }

  /** Resolves when the client has got every answer that is due. */
  whenIdle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#isBusy) this.#idleWaiters.push(resolve);
      else resolve();
    });
  }

  #read(): void {
    const received = receive(this.#fd);
    if (received === undefined) {
      this.#readable = false;
      return;
    }
    const { bytes, fds, fdsLost } = received;
    if (bytes.length === 0) {
      closeAll(fds);
      this.close();
      return;
    }
    if (this.#lingering) {
      closeAll(fds);
      return;
    }
    const found: ParsedItem[] = [];
    try {
      this.#parser.push(bytes, fds, found);
      if (fdsLost) throw new HttpParseError("more file descriptors than this process can have open", false);
      if (found.length > 0) this.#badLines = 0;
      this.#items.push(...found);
    } catch (error) {
      if (!(error instanceof HttpParseError)) throw error;
      this.#items.push(...found);
      this.#dropItems();
      this.#refuse(error);
    }
  }

  #refuse(error: HttpParseError): void {
    closeAll(this.#parser.takeFds());
    this.#output = parseErrorResponse(error.message);
    if (error.isRecoverable && ++this.#badLines < this.#host.limits.badLines) return;
    this.#lingering = true;
  }

  #serve(item: ParsedItem): void {
    if (item.kind === "continue") {
      this.#output = continueResponse(item.version);
      return;
    }
    const { request } = item;
    this.#setTimer(undefined);
    const response = this.#host.handle(request);
    if (!(response instanceof Promise)) {
      this.#answer(request, response);
      return;
    }
    this.#answering = true;
    void response.then((late) => {
      this.#answering = false;
      this.#answer(request, late);
      this.#work();
    });
  }

  #answer(request: HttpRequest, response: HttpResponse): void {
    closeAll(request.fds);
    this.#output = apiResponse(response);
  }

  /** @returns whether all of it went */
  #flush(output: Uint8Array): boolean {
    let left = output;
    while (left.length > 0) {
      const sent = send(this.#fd, left);
      if (sent === 0) {
        this.#output = left;
        this.#setTimer("response");
        return false;
      }
      left = left.subarray(sent);
    }
    this.#output = undefined;
    if (this.#timerFor === "response") this.#setTimer(undefined);
    if (this.#lingering) {
      endSending(this.#fd);
      this.#setTimer("linger");
    }
    return true;
  }

  /** All that came has been dealt with: what may the client take its time for? */
  #watchTheClock(): void {
    this.#setTimer(this.#lingering ? "linger" : this.#parser.isPartial ? "request" : undefined);
  }

  #setTimer(what: "request" | "response" | "linger" | undefined): void {
    if (this.#timerFor === what) return;
    clearTimeout(this.#timer);
    this.#timerFor = what;
    if (what === undefined) return;
    const { requestMs, responseMs, lingerMs } = this.#host.limits;
    this.#timer = setTimeout(
      () => this.#timeUp(what),
      { request: requestMs, response: responseMs, linger: lingerMs }[what],
    );
    this.#timer.unref();
  }

  #timeUp(what: "request" | "response" | "linger"): void {
    if (what !== "linger") log.warn(`an API client is cut off: too slow with a ${what}`);
    this.close();
  }

  #dropItems(): void {
    for (const item of this.#items.splice(0)) if (item.kind === "request") closeAll(item.request.fds);
  }
}
