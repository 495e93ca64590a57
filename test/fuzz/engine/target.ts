import type { Input } from "./input.ts";

/** One parser or device front end, driven in process. */
export interface FuzzTarget {
  /** What is driven, in a line for the list of targets. */
  readonly what: string;
  /** Inputs are at most this long. */
  readonly maxBytes: number;
  /** Pieces that inputs are made of: words of a grammar, magic numbers. */
  readonly dictionary?: readonly (string | Uint8Array)[];
  /** Inputs to start from, besides those of the corpus. */
  seeds?(): readonly (string | Uint8Array)[];
  /**
   * Gets ready for many runs. What a run returns or throws must follow from its input alone.
   * @returns drives the target once: throws where the target does anything but what it may
   */
  open(): FuzzRun | Promise<FuzzRun>;
}

/** One run. Asynchronous where the target is. */
export type FuzzRun = (input: Input) => void | Promise<void>;
