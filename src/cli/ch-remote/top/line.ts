/** How a text is shown where there are colours. */
export type Tone = "plain" | "bold" | "dim" | "heading" | "good" | "warning" | "bad";

/** A text of one tone. */
export interface Span {
  readonly text: string;
  readonly tone: Tone;
}

/** A line of the screen, left to right. */
export type Line = readonly Span[];

export const span = (text: string, tone: Tone = "plain"): Span => ({ text, tone });

/** What the guest's owner calls things must not steer the terminal, and takes a column a character. */
export const printable = (text: string): string => text.replaceAll(/[^\x20-\x7e]/gu, "?");

/** Exactly so many columns: cut, or filled up at the other side. */
export function fitted(text: string, width: number, align: "left" | "right"): string {
  const cut = text.length > width ? `${text.slice(0, Math.max(0, width - 1))}${width > 0 ? "~" : ""}` : text;
  return align === "left" ? cut.padEnd(width) : cut.padStart(width);
}

export const widthOf = (line: Line): number => line.reduce((sum, { text }) => sum + text.length, 0);

/** A line of at most so many columns. */
export function clipped(line: Line, width: number): Line {
  let left = width;
  return line.flatMap(({ text, tone }) => {
    const part = text.slice(0, left);
    left -= part.length;
    return part === "" ? [] : [{ text: part, tone }];
  });
}

/** SGR parameters (ECMA-48, 8.3.117). */
const SGR: Readonly<Record<Exclude<Tone, "plain">, string>> = {
  bold: "1",
  dim: "2",
  heading: "7",
  good: "32",
  warning: "33",
  bad: "31",
};

/** A line as a terminal gets it. */
export function lineText(line: Line, colour: boolean): string {
  if (!colour)
    return line
      .map(({ text }) => text)
      .join("")
      .trimEnd();
  return line.map(({ text, tone }) => (tone === "plain" ? text : `\x1b[${SGR[tone]}m${text}\x1b[0m`)).join("");
}
