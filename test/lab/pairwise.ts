/** The dimensions of a test matrix: each name with the values it can take. */
export type Dimensions<T extends Record<string, unknown>> = { readonly [K in keyof T]: readonly T[K][] };

/** Every combination, the last dimension varying fastest. */
export function fullMatrix<T extends Record<string, unknown>>(dimensions: Dimensions<T>): T[] {
  const names: (keyof T)[] = Object.keys(dimensions);
  let rows: Partial<T>[] = [{}];
  for (const name of names) {
    rows = rows.flatMap((row) => dimensions[name].map((value) => ({ ...row, [name]: value })));
  }
  return rows.filter((row): row is T => names.every((name) => name in row));
}

function pairsOf(row: Record<string, unknown>): string[] {
  const cells = Object.entries(row).map(([name, value]) => `${name}=${String(value)}`);
  return cells.flatMap((first, i) => cells.slice(i + 1).map((second) => `${first} ${second}`));
}

/** A small part of the full matrix in which every two values of different dimensions still meet (greedy, the same each time). */
export function pairwiseMatrix<T extends Record<string, unknown>>(dimensions: Dimensions<T>): T[] {
  const candidates = fullMatrix(dimensions);
  const missing = new Set(candidates.flatMap(pairsOf));
  const chosen: T[] = [];
  while (missing.size > 0) {
    let best: { row: T; gain: number } | undefined;
    for (const row of candidates) {
      const gain = pairsOf(row).filter((pair) => missing.has(pair)).length;
      if (best === undefined || gain > best.gain) best = { row, gain };
    }
    if (best === undefined || best.gain === 0) throw new Error("no row holds the missing pairs");
    for (const pair of pairsOf(best.row)) missing.delete(pair);
    chosen.push(best.row);
  }
  return chosen;
}
