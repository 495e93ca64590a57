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
  readonly #process: Subprocess<"pipe", "pipe", "pipe">;
  readonly #started = performance.now();
  readonly #lines: string[] = [];
  readonly #waiters = new Set<{ check: (line: string) => boolean; done: (line: string | null) => void }>();
  readonly #outcome: Promise<PayloadOutcome>;
  #firstByteMs: number | null = null;
  #partial = "";
  #ended = false;

  /** `timeoutMs` is the whole life of the process: it is killed when that is over. */
  constructor(command: readonly string[], timeoutMs: number) {
    this.#process = Bun.spawn([...command], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    this.#outcome = this.#collect(timeoutMs);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Bytes for the guest's serial port. */
  write(text: string): void {
    this.#process.stdin.write(text);
    this.#process.stdin.flush();
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /**
   * The first complete line, of those already seen or still to come, that the check accepts.
   * Throws PayloadError when the machine ends without one.
   */
  async line(check: (line: string) => boolean): Promise<string> {
    const seen = this.#lines.find(check);
    if (seen !== undefined) {
      return seen;
    }
    const line = this.#ended
      ? null
      : await new Promise<string | null>((done) => {
          this.#waiters.add({ check, done });
        });
    if (line === null) {
      throw new PayloadError(`the machine ended before the awaited line:\n${describeOutcome(await this.#outcome)}`);
    }
    return line;
  }

  /** Resolves when the process has ended. */
  outcome(): Promise<PayloadOutcome> {
    return this.#outcome;
  }

  #take(line: string): void {
    this.#lines.push(line);
    for (const waiter of [...this.#waiters]) {
      if (waiter.check(line)) {
        this.#waiters.delete(waiter);
        waiter.done(line);
      }
    }
  }

  async #readOutput(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#process.stdout) {
      this.#firstByteMs ??= performance.now() - this.#started;
      const pieces = (this.#partial + decoder.decode(chunk, { stream: true })).split("\n");
      this.#partial = pieces.pop() ?? "";
      for (const piece of pieces) {
        this.#take(piece.replace(/\r$/, ""));
      }
    }
    if (this.#partial !== "") {
      this.#take(this.#partial);
    }
  }

  async #collect(timeoutMs: number): Promise<PayloadOutcome> {
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      this.#process.kill("SIGKILL");
    }, timeoutMs);
    const [stderr] = await Promise.all([
      new Response(this.#process.stderr).text(),
      this.#readOutput(),
      this.#process.exited,
    ]);
    clearTimeout(timer);
    this.#ended = true;
    for (const waiter of this.#waiters) {
      waiter.done(null);
    }
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
