/** What a fuzzing process is to do: handed over as JSON on its command line. */
export interface FuzzJob {
  readonly target: string;
  readonly seed: number;
  /** Runs at most. */
  readonly runs: number;
  /** Seconds at most. */
  readonly seconds: number;
  /** The file that progress is told in. */
  readonly progress: string;
  /** The file that the report goes to, as JSON: it is whole when the process has ended by itself. */
  readonly report: string;
  /** Files with inputs: the corpus, or those to be tried alone. */
  readonly inputs: readonly string[];
  /** Try the inputs and nothing else. */
  readonly replay: boolean;
}

/** What a fuzzing process says to its monitor. */
export type FuzzReport =
  | { readonly kind: "done"; readonly runs: number; readonly places: number; readonly kept: readonly string[] }
  | {
      readonly kind: "finding";
      readonly run: number;
      readonly error: string;
      /** In base64. */
      readonly input: string;
      /** Whether a run with this input alone does the same. */
      readonly repeats: boolean;
    };
