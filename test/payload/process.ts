import type { Subprocess } from "bun";

/** What a payload said and how its machine ended. */
export interface PayloadOutcome {
  /** Exit status of the machine's process; null when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: number | string | null;
  readonly timedOut: boolean;
  /** Every line of standard output (the guest's serial port), in order. */
  readonly lines: readonly string[];
  readonly stderr: string;
  /** One record for each line `RESULT key=value ...`. */
  readonly results: readonly Readonly<Record<string, string>>[];
  /** The text of each line `FAIL ...`. */
  readonly failures: readonly string[];
  /** True when the guest printed `PASS` and no `FAIL`. */
  readonly passed: boolean;
  /** From spawn to the first byte of output; null without output. */
  readonly firstByteMs: number | null;
  readonly elapsedMs: number;
}

/** The machine did not do what a test waits for; the message carries all output so far. */
export class PayloadError extends Error {
  override readonly name = "PayloadError";
}

/** Key-value pairs of a `RESULT` line. */
export function parseResult(line: string): Record<string, string> {
  const record: Record<string, string> = {};
  for (const word of line.split(" ").slice(1)) {
    const equals = word.indexOf("=");
    if (equals > 0) {
      record[word.slice(0, equals)] = word.slice(equals + 1);
    }
  }
  return record;
}

/** The named number of the first `RESULT` line that has it. Throws PayloadError when there is none. */
export function resultNumber(outcome: PayloadOutcome, key: string): number {
  for (const result of outcome.results) {
    const text = result[key];
    if (text !== undefined && text !== "" && Number.isFinite(Number(text))) {
      return Number(text);
    }
  }
  throw new PayloadError(`no number ${key} in the guest's results:\n${describeOutcome(outcome)}`);
}

/** All that is known of a run, for a test's failure message. */
export function describeOutcome(outcome: PayloadOutcome): string {
  const end = outcome.timedOut ? "timed out" : `exit ${outcome.exitCode ?? outcome.signal}`;
  return `${end} after ${Math.round(outcome.elapsedMs)} ms\n${outcome.lines.join("\n")}\n${outcome.stderr}`;
}

/** A machine that runs a payload, with the guest's serial port on its standard input and output. */
export class PayloadProcess {
  readonly #process: Subprocess;
  readonly #write: (text: string) => void;
  readonly #decoder = new TextDecoder();
  readonly #streams: Promise<string>;
  readonly #started = performance.now();
  readonly #lines: string[] = [];
  readonly #outcome: Promise<PayloadOutcome>;
  #firstByteMs: number | null = null;
  #partial = "";
  #cursor = 0;
  #wake: () => void = () => {};
  #ended = false;

  /**
   * `timeoutMs` is the whole life of the process: it is killed when that is over. With `terminal`, standard input, output
   * and error are a pseudo-terminal: some machines take input for the serial port from nothing less.
   */
  constructor(command: readonly string[], timeoutMs: number, terminal = false) {
    if (terminal) {
      let closed: () => void = () => {};
      const drained = new Promise<string>((done) => {
        closed = () => done("");
      });
      const process = Bun.spawn([...command], {
        terminal: {
          cols: 80,
          rows: 25,
          data: (_terminal, bytes) => this.#receive(bytes),
          exit: () => closed(),
        },
      });
      this.#process = process;
      this.#streams = drained;
      this.#write = (text) => process.terminal?.write(text);
    } else {
      const process = Bun.spawn([...command], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
      this.#process = process;
      this.#streams = this.#readPipes(process.stdout, process.stderr);
      this.#write = (text) => {
        process.stdin.write(text);
        process.stdin.flush();
      };
    }
    this.#outcome = this.#collect(timeoutMs);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Bytes for the guest's serial port. */
  write(text: string): void {
    this.#write(text);
  }

  /** A new size for the terminal. */
  resize(columns: number, rows: number): void {
    this.#process.terminal?.resize(columns, rows);
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /**
   * The next line that the check accepts, after the one that the last call returned; what lies between is passed over.
   * Throws PayloadError when the machine ends without one.
   */
  async nextLine(check: (line: string) => boolean): Promise<string> {
    for (;;) {
      const line = this.#lines[this.#cursor];
      if (line !== undefined) {
        this.#cursor++;
        if (check(line)) {
          return line;
        }
      } else if (this.#ended) {
        throw new PayloadError(`the machine ended before the awaited line:\n${describeOutcome(await this.#outcome)}`);
      } else {
        await new Promise<void>((wake) => {
          this.#wake = wake;
        });
      }
    }
  }

  /** Resolves when the process has ended. */
  outcome(): Promise<PayloadOutcome> {
    return this.#outcome;
  }

  #take(line: string): void {
    this.#lines.push(line);
    this.#wake();
  }

  #receive(bytes: Uint8Array): void {
    this.#firstByteMs ??= performance.now() - this.#started;
    const pieces = (this.#partial + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#partial = pieces.pop() ?? "";
    for (const piece of pieces) {
      this.#take(piece.replace(/\r$/, ""));
    }
  }

  async #readPipes(stdout: ReadableStream<Uint8Array>, stderr: ReadableStream<Uint8Array>): Promise<string> {
    const words = new Response(stderr).text();
    for await (const chunk of stdout) {
      this.#receive(chunk);
    }
    return words;
  }

  async #collect(timeoutMs: number): Promise<PayloadOutcome> {
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      this.#process.kill("SIGKILL");
    }, timeoutMs);
    const [stderr] = await Promise.all([this.#streams, this.#process.exited]);
    if (this.#partial !== "") {
      this.#take(this.#partial);
    }
    clearTimeout(timer);
    this.#ended = true;
    this.#wake();
    const failures = this.#lines.filter((line) => line.startsWith("FAIL")).map((line) => line.slice(5));
    return {
      exitCode: this.#process.exitCode,
      signal: this.#process.signalCode,
      timedOut,
      lines: this.#lines,
      stderr,
      results: this.#lines.filter((line) => line.startsWith("RESULT ")).map(parseResult),
      failures,
      passed: failures.length === 0 && this.#lines.includes("PASS"),
      firstByteMs: this.#firstByteMs,
      elapsedMs: performance.now() - this.#started,
    };
  }
}
