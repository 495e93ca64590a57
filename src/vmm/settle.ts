/** Until then a guest that boots needs the processors more than this process needs less memory. */
const BOOTED_MS = 500;

let pending: ReturnType<typeof setTimeout> | undefined;

function shrinkIn(ms: number): void {
  clearTimeout(pending);
  pending = setTimeout(Bun.shrink, ms).unref();
}

/**
 * When the main thread gives up code that it has run, with what the code's compilers keep, and garbage: it finds the code
 * again in the executable, at the price of some 20 ms for what a boot runs.
 */
export const settle = {
  /** A VM starts: that a reboot has just ended one is no reason to load all again. */
  starting(): void {
    clearTimeout(pending);
  },
  /** Most of the code that a boot needs is not needed again before the next one. */
  booted(): void {
    shrinkIn(BOOTED_MS);
  },
  /** Nothing is left of the VM but what the process remembers of it. */
  over(): void {
    shrinkIn(0);
  },
};
