/**
 * Checks text in Prometheus' format as its own linter does, and more strictly where the format leaves a choice.
 * @returns the samples by name and labels as written
 * @throws Error saying what is wrong in which line
 */
export function checkExposition(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  const families = new Set<string>();
  let helped = "";
  let family = { name: "", type: "" };
  if (!text.endsWith("\n")) throw new Error("the last line does not end");
  for (const line of text.slice(0, -1).split("\n")) {
    const fail = (why: string): never => {
      throw new Error(`${why}: ${line}`);
    };
    const [, kind, name = "", rest = ""] = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/.exec(line) ?? [];
    if (kind === "HELP") {
      if (families.has(name)) fail("a family comes twice");
      if (/(^|[^\\])(\\\\)*\\($|[^\\n])/.test(rest)) fail("help is not escaped");
      helped = name;
    } else if (kind === "TYPE") {
      if (name !== helped) fail("no help before the type");
      if (rest !== "counter" && rest !== "gauge") fail("unknown type");
      if ((rest === "counter") !== name.endsWith("_total")) fail("counters, and they alone, end with _total");
      families.add(name);
      family = { name, type: rest };
    } else {
      const label = String.raw`[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\[\\"n])*"`;
      const pattern = new RegExp(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\\{${label}(?:,${label})*\\})? (\\S+)$`);
      const [, own = "", labels = "", value = ""] = pattern.exec(line) ?? fail("no sample");
      if (own !== family.name) fail("a sample outside its family");
      const number = value === "+Inf" ? Number.POSITIVE_INFINITY : Number(value);
      if (Number.isNaN(number) && value !== "NaN") fail("no number");
      if (family.type === "counter" && !(number >= 0)) fail("a counter below zero");
      if (samples.has(own + labels)) fail("a sample comes twice");
      samples.set(own + labels, number);
    }
  }
  return samples;
}
