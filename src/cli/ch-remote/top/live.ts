import { constants } from "node:os";
import { type Canvas, frame } from "./frame.ts";
import { type View, viewOf } from "./rates.ts";
import type { Sample } from "./sample.ts";
import { Screen } from "./screen.ts";
import type { SampleSource } from "./source.ts";

const SUCCESS = 0;
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
/** Keys that end it: q, Ctrl-C, and Ctrl-D. */
const QUIT_KEYS = ["q", "Q", "\x03", "\x04"];
/** A VMM that takes longer to answer is said to. */
const PATIENCE_MS = 1_000;

export interface LiveOptions {
  readonly intervalMs: number;
  /** Frames to show; infinite to go on. */
  readonly frames: number;
  readonly colour: boolean;
  readonly unicode: boolean;
}

/** The view on the screen, from the first frame until somebody ends it. */
class LiveView implements Disposable {
  readonly #screen: Screen;
  readonly #unicode: boolean;
  readonly #ended = Promise.withResolvers<number>();
  #view: View | undefined;
  #askedMs: number | undefined;
  readonly #clock = setInterval(() => this.#tellOfSilence(), PATIENCE_MS);
  readonly #undo: (() => void)[] = [];

  constructor({ colour, unicode }: LiveOptions) {
    this.#unicode = unicode;
    this.#screen = new Screen(colour);
    const end = this.#ended.resolve;
    const keys = (bytes: Buffer): void => {
      const typed = bytes.toString("latin1");
      if (QUIT_KEYS.some((key) => typed.includes(key))) end(SUCCESS);
    };
    const resized = (): void => this.#draw();
    // Input that ends is that of a terminal that is gone, or none at all.
    const noInput = (): void => {
      if (process.stdin.isTTY) end(SUCCESS);
    };
    process.stdin.on("data", keys).on("end", noInput).on("error", noInput);
    process.on("SIGWINCH", resized);
    for (const signal of SIGNALS) {
      const signalled = (): void => end(128 + constants.signals[signal]);
      process.on(signal, signalled);
      this.#undo.push(() => process.off(signal, signalled));
    }
    this.#undo.push(() => process.off("SIGWINCH", resized));
  }

  /** Shows frames until it is ended. @returns the exit status @throws ApiConnectionError when the VMM is gone */
  async run(source: SampleSource, { intervalMs, frames }: LiveOptions): Promise<number> {
    let before: Sample | undefined;
    for (let shown = 0; shown < frames; shown++) {
      this.#askedMs = performance.now();
      const sample = await Promise.race([this.#ended.promise, source.sample()]);
      if (typeof sample === "number") return sample;
      this.#askedMs = undefined;
      this.#view = viewOf(sample, before);
      before = sample;
      this.#draw();
      const status = await Promise.race([this.#ended.promise, Bun.sleep(intervalMs)]);
      if (status !== undefined) return status;
    }
    return SUCCESS;
  }

  #tellOfSilence(): void {
    const silentMs = performance.now() - (this.#askedMs ?? Number.POSITIVE_INFINITY);
    if (silentMs > PATIENCE_MS) this.#draw(`no answer for ${Math.round(silentMs / 1000)} s`);
  }

  #draw(notice?: string): void {
    if (this.#view === undefined) return;
    const canvas: Canvas = { ...this.#screen.size, unicode: this.#unicode };
    if (!this.#screen.draw(frame(this.#view, canvas, notice))) this.#ended.resolve(SUCCESS);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#clock);
    for (const undo of this.#undo) undo();
    process.stdin.pause();
    this.#screen[Symbol.dispose]();
  }
}

/** Shows the VM on the whole terminal. @returns the exit status @throws ApiConnectionError when the VMM is gone */
export async function showLive(source: SampleSource, options: LiveOptions): Promise<number> {
  // Before the screen is changed: a VMM that is not there is told of where it can be read.
  await source.sample();
  using view = new LiveView(options);
  return await view.run(source, options);
}
