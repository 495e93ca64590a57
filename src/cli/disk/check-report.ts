import type { ImageFindings } from "./check.ts";

/** What a check tells the user, line by line. @param before what was found before a repair that has changed the image */
export function checkReport({
  format,
  findings,
  before,
}: {
  readonly format: string;
  readonly findings: ImageFindings;
  readonly before: ImageFindings | undefined;
}): string[] {
  const mended =
    before === undefined
      ? []
      : [
          ...described(format, before),
          `${before.corruptions} errors, ${before.leaks} leaked clusters before the repair`,
        ];
  return [...mended, ...described(format, findings), verdictOn(format, findings)];
}

function described(format: string, { corruptions, leaks, examples, isDirty, isCorrupt }: ImageFindings): string[] {
  const more = corruptions + leaks - examples.length;
  const log = format === "vhdx" ? ": it has a log to replay, which puts it right when it is opened for writing" : "";
  return [
    ...examples,
    ...(more > 0 ? [`and ${more} more`] : []),
    ...(isDirty ? [`the image was not closed properly${log}`] : []),
    ...(isCorrupt ? ["the image is marked as corrupt"] : []),
  ];
}

function verdictOn(format: string, { corruptions, broken, leaks, isDirty, isCorrupt }: ImageFindings): string {
  if (corruptions + leaks === 0 && !isDirty && !isCorrupt) return "no errors were found";
  const counts = `${corruptions} errors, ${leaks} leaked clusters`;
  if (broken > 0 || format !== "qcow2") return corruptions + leaks === 0 ? "no other errors were found" : counts;
  return `${counts}: --repair ${corruptions > 0 || isDirty || isCorrupt ? "all" : "leaks"} mends them`;
}
