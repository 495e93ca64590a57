import { readdirSync, readlinkSync } from "node:fs";
import { unlessGone } from "./unless-gone.ts";

/** What this process has open: how many descriptors of each file, socket or kind. */
export function openDescriptors(): ReadonlyMap<string, number> {
  const open = new Map<string, number>();
  for (const fd of readdirSync("/proc/self/fd")) {
    // The listing's own descriptor, for one, is closed by now.
    const what = unlessGone(() => readlinkSync(`/proc/self/fd/${fd}`));
    if (what !== undefined) open.set(what, (open.get(what) ?? 0) + 1);
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
