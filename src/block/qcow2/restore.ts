import { logger } from "../../threads/log.ts";
import { DiskImageError } from "../image-error.ts";
import type { Qcow2Findings } from "./check.ts";
import type { RepairableImage } from "./refcount-writer.ts";
import { repairQcow2 } from "./repair.ts";

const log = logger("qcow2");

/** Steps of the repair, of `ENTRIES_PER_TURN` table entries each, that opening an image may take: a few seconds. */
const MOST_STEPS = 128;

/**
 * Puts an image in order whose refcounts were not written before it was closed, as a program may leave it that writes them late
 * (lazy refcounts), or before it was counted at all. Takes a pass over all tables of the image.
 * @throws DiskImageError when it is damaged beyond its refcounts, and then left as it is, or has too many tables; ImageIoError
 */
export function restoreQcow2(image: RepairableImage): void {
  const { path } = image;
  log.info(`${path} was left without all of its refcounts: they are made anew, which takes a pass over its tables`);
  const found = runToEnd(repairQcow2(image, { kind: "all" }));
  if (found === undefined)
    throw new DiskImageError(
      path,
      "was left without all of its refcounts and has too many tables to be put in order while a VM waits: " +
        "use cloud-hypervisor disk check --repair all",
    );
  if (found.broken > 0)
    throw new DiskImageError(
      path,
      `was left without all of its refcounts and is damaged in ${found.broken} places (${found.examples[0] ?? ""}): ` +
        "cloud-hypervisor disk check tells all; save what can be read with cloud-hypervisor disk convert, " +
        "or have qemu-img check -r all cut off what is lost",
    );
  log.info(`${path}: ${found.corruptions} errors mended, ${found.leaks} lost clusters given back`);
}

/** @returns undefined when it takes too many steps. It can be given up after any of them, as it can be cut off by a crash. */
function runToEnd(steps: Generator<void, Qcow2Findings, void>): Qcow2Findings | undefined {
  for (let step = 0; step <= MOST_STEPS; step++) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
  steps.return({ corruptions: 0, broken: 0, leaks: 0, examples: [] });
  return undefined;
}
