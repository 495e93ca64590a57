import { readdirSync, readlinkSync } from "node:fs";

/** What this process has open: how many descriptors of each file, socket or kind. */
export function openDescriptors(): ReadonlyMap<string, number> {
  const open = new Map<string, number>();
  for (const fd of readdirSync("/proc/self/fd")) {
    try {
      const what = readlinkSync(`/proc/self/fd/${fd}`);
      open.set(what, (open.get(what) ?? 0) + 1);
    } catch (error) {
      // Closed since it was listed, as the listing's own descriptor is.
      if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    }
  }
  return open;
}

/**
 * What is open that was not. What the process has closed meanwhile does not count: other tests leave descriptors to the garbage
 * collector and to threads that end, which close them at any time.
 */
export function openedSince(before: ReadonlyMap<string, number>): string[] {
  return [...openDescriptors()].flatMap(([what, count]) => {
    const more = count - (before.get(what) ?? 0);
    return more > 0 ? Array<string>(more).fill(what) : [];
  });
}
