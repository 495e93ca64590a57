/** One line of the benchmark's report. */
export interface Figure {
  readonly what: string;
  /** In `unit`; the median of the runs. */
  readonly ours: number;
  readonly unit: string;
  /** The same on what we compare with, measured in the same run, by its name. */
  readonly others: Readonly<Record<string, number>>;
  /** What the project wants of it, in words, and whether it is so. */
  readonly goal?: { readonly text: string; readonly reached: boolean };
}

/** The middle value, or the mean of the two in the middle. NaN for no values. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

const round = (value: number): string => (value >= 100 ? value.toFixed(0) : value.toPrecision(3));

/** One line of text: the figure, the others with their ratio to ours, the goal. */
export function formatFigure({ what, ours, unit, others, goal }: Figure): string {
  const comparisons = Object.entries(others).map(
    ([name, value]) => `${name} ${round(value)} ${unit} (ours ${(ours / value).toFixed(2)} times)`,
  );
  const verdict = goal === undefined ? [] : [`${goal.reached ? "reached" : "NOT REACHED"}: ${goal.text}`];
  return [`${what}: ${round(ours)} ${unit}`, ...comparisons, ...verdict].join("; ");
}
