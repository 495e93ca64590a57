/** Told of `count` pages from page `first` on. */
export type PageRun = (first: number, count: number) => void;

/**
 * Puts page numbers in order, so that neighbours are dealt with at once and none twice.
 * @param pages is sorted
 */
export function eachRun(pages: Uint32Array, take: PageRun): void {
  pages.sort();
  let first = 0;
  let count = 0;
  for (const page of pages) {
    if (count > 0 && page < first + count) continue;
    if (page === first + count && count > 0) {
      count++;
      continue;
    }
    if (count > 0) take(first, count);
    first = page;
    count = 1;
  }
  if (count > 0) take(first, count);
}
