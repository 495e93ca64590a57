import { realpathSync } from "node:fs";
import { dirname } from "node:path";
import { FsRight, type LandlockRule } from "../../host/landlock.ts";
import type { PathNeed } from "./path-needs.ts";

/** What the letters of --landlock-rules stand for (security.md, 4.1); ioctls of devices go with either. */
const LETTERS: Readonly<Record<string, number>> = {
  r: FsRight.EXECUTE | FsRight.READ_FILE | FsRight.READ_DIR | FsRight.IOCTL_DEV,
  w:
    FsRight.WRITE_FILE |
    FsRight.TRUNCATE |
    FsRight.REMOVE_DIR |
    FsRight.REMOVE_FILE |
    FsRight.MAKE_CHAR |
    FsRight.MAKE_DIR |
    FsRight.MAKE_REG |
    FsRight.MAKE_SOCK |
    FsRight.MAKE_FIFO |
    FsRight.MAKE_BLOCK |
    FsRight.MAKE_SYM |
    FsRight.REFER |
    FsRight.IOCTL_DEV,
};

/** A set of rules with their paths as the kernel sees them. */
export type Layer = ReadonlyMap<string, number>;

/** The rights that letters of a rule give. Others than r and w give none. */
export function rightsOfLetters(access: string): number {
  return [...access].reduce((rights, letter) => rights | (LETTERS[letter] ?? 0), 0);
}

/**
 * Where a path leads for the kernel, which follows a link before it goes up from there; undefined when it leads nowhere. The
 * plain realpathSync takes ".." out of the text first.
 */
function whole(path: string): string | undefined {
  try {
    return realpathSync.native(path);
  } catch {
    return undefined;
  }
}

/** What rules allow. A rule whose path leads nowhere allows nothing. */
export function layerOf(rules: readonly LandlockRule[]): Layer {
  const layer = new Map<string, number>();
  for (const { path, rights } of rules) {
    const real = whole(path);
    if (real !== undefined) layer.set(real, (layer.get(real) ?? 0) | rights);
  }
  return layer;
}

/** Whether two sets of rules allow the same. */
export function isSame(a: Layer, b: Layer): boolean {
  return a.size === b.size && [...a].every(([path, rights]) => b.get(path) === rights);
}

/** Whether the rules from a path up to the root give all that is needed. What is not there is told by who opens it. */
export function isAllowed(layer: Layer, { path, rights }: PathNeed): boolean {
  let at = whole(path);
  if (at === undefined) return true;
  for (let given = 0; ; at = dirname(at)) {
    given |= layer.get(at) ?? 0;
    if ((rights & ~given) === 0) return true;
    if (at === dirname(at)) return false;
  }
}
