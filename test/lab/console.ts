/** The guest's console did not show what was waited for; the message ends with what it showed instead. */
export class ConsoleError extends Error {
  override readonly name = "ConsoleError";
}

const SHOWN_TAIL = 4000;

interface Waiter {
  readonly pattern: RegExp;
  readonly resolve: (match: RegExpExecArray) => void;
  readonly reject: (error: Error) => void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/**
 * A text console read as it comes: wait for patterns, each after the one before, and type.
 * One `waitFor` at a time. Everything ever shown is in `transcript`.
 */
export class Console {
  transcript = "";
  readonly #type: (text: string) => void;
  readonly #decoder = new TextDecoder();
  #cursor = 0;
  #closed: string | undefined;
  #waiter: Waiter | undefined;

  /** @param type sends text to the other side */
  constructor(type: (text: string) => void) {
    this.#type = type;
  }

  /** Takes what the other side has shown. */
  feed(chunk: Uint8Array): void {
    this.transcript += this.#decoder.decode(chunk, { stream: true });
    this.#check();
  }

  /** Nothing more will be shown. A wait under way fails with `why` unless its pattern is there already. */
  close(why: string): void {
    this.#closed ??= why;
    this.#check();
  }

  type(text: string): void {
    this.#type(text);
  }

  /** Waits until the pattern shows after the last match. @throws ConsoleError at the time limit or when the console closes first. */
  waitFor(pattern: RegExp, timeoutMs: number): Promise<RegExpExecArray> {
    if (this.#waiter !== undefined) throw new Error("one waitFor at a time");
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#fail(`nothing like ${pattern} within ${timeoutMs / 1000} s`), timeoutMs);
      this.#waiter = { pattern, resolve, reject, timer };
      this.#check();
    });
  }

  #fail(what: string): void {
    const waiter = this.#waiter;
    if (waiter === undefined) return;
    this.#waiter = undefined;
    clearTimeout(waiter.timer);
    const shown = this.transcript.slice(this.#cursor).slice(-SHOWN_TAIL);
    waiter.reject(
      new ConsoleError(`${what}. Shown since the last match:\n${shown || this.transcript.slice(-SHOWN_TAIL)}`),
    );
  }

  #check(): void {
    const waiter = this.#waiter;
    if (waiter === undefined) return;
    const match = waiter.pattern.exec(this.transcript.slice(this.#cursor));
    if (match !== null) {
      this.#waiter = undefined;
      clearTimeout(waiter.timer);
      this.#cursor += match.index + match[0].length;
      waiter.resolve(match);
    } else if (this.#closed !== undefined) {
      this.#fail(`waiting for ${waiter.pattern}: ${this.#closed}`);
    }
  }
}
