/** One value of a metric. */
export interface MetricSample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The values of each metric by its name. */
export type Metrics = ReadonlyMap<string, readonly MetricSample[]>;

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
/** A name begins where no other does: within one there is nothing to try. */
const LABEL = /(?<![a-zA-Z0-9_])([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g;

const unescaped = (text: string): string =>
  text.replaceAll(/\\(.)/g, (_, character) => (character === "n" ? "\n" : character));

/** Reads Prometheus' text format (prometheus.io/docs/instrumenting/exposition_formats). What is no sample is passed over. */
export function parseMetrics(text: string): Metrics {
  const metrics = new Map<string, MetricSample[]>();
  for (const line of text.split("\n")) {
    const [, name, labelText = "", valueText = ""] = SAMPLE.exec(line) ?? [];
    const value = Number(valueText);
    if (name === undefined || !Number.isFinite(value)) continue;
    const labels = Object.fromEntries(
      Array.from(labelText.matchAll(LABEL), ([, label = "", content = ""]) => [label, unescaped(content)]),
    );
    const samples = metrics.get(name);
    if (samples === undefined) metrics.set(name, [{ labels, value }]);
    else samples.push({ labels, value });
  }
  return metrics;
}
