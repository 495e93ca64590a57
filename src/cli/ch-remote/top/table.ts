import { clipped, fitted, type Line, type Span, span } from "./line.ts";

/** A column of a table. */
export interface Column<R> {
  readonly title: string;
  /** In characters; that of a column that fills what is left is the least that it takes. */
  readonly width: number;
  /** Where there is no room for all columns, those of the highest ranks go. */
  readonly rank: number;
  readonly align?: "left";
  /** The column takes what the others leave. */
  readonly fills?: true;
  readonly cell: (row: R, width: number) => Span;
}

const GAP = 1;
/** A column that fills is no wider: the eye would lose the line. */
const MAX_FILL = 50;

function widthsThatFit<R>(columns: readonly Column<R>[], width: number): ReadonlyMap<Column<R>, number> {
  const kept = [...columns];
  const taken = (): number => kept.reduce((sum, column) => sum + column.width + GAP, -GAP);
  while (kept.length > 1 && taken() > width) {
    const rank = Math.max(...kept.map((column) => column.rank));
    kept.splice(
      kept.findLastIndex((column) => column.rank === rank),
      1,
    );
  }
  const spare = Math.max(0, width - taken());
  return new Map(
    kept.map((column) => [column, column.fills ? Math.min(column.width + spare, MAX_FILL) : column.width]),
  );
}

/** Lines of a table: the heading, and a line a row, none of them wider than `width`. */
export function tableLines<R>(columns: readonly Column<R>[], rows: readonly R[], width: number): Line[] {
  const widths = [...widthsThatFit(columns, width)];
  const line = (cell: (column: Column<R>, columnWidth: number) => Span): Line =>
    clipped(
      widths.flatMap(([column, columnWidth], index) => {
        const { text, tone } = cell(column, columnWidth);
        return [
          span(index === 0 ? "" : " ".repeat(GAP)),
          span(fitted(text, columnWidth, column.align ?? "right"), tone),
        ];
      }),
      width,
    );
  const heading = line(({ title }) => span(title)).map(({ text }) => text);
  return [
    [span(heading.join(""), "heading")],
    ...rows.map((row) => line((column, columnWidth) => column.cell(row, columnWidth))),
  ];
}
