import { logger } from "../../threads/log.ts";
import { DiskImageError } from "../image-error.ts";
import type { Qcow2Findings } from "./check.ts";
import type { RepairableImage } from "./refcount-writer.ts";
import { repairQcow2 } from "./repair.ts";

const log = logger("qcow2");

/**
 * Puts an image in order whose refcounts were not written before it was closed, as a program may leave it that writes them late
 * (lazy refcounts), or before it was counted at all. Takes a pass over all tables of the image.
 * @throws DiskImageError when it is damaged beyond its refcounts, and then left as it is; ImageIoError
 */
export function restoreQcow2(image: RepairableImage): void {
  const { path } = image;
  log.info(`${path} was left without all of its refcounts: they are made anew, which takes a pass over its tables`);
  const found = runToEnd(repairQcow2(image, { kind: "all" }));
  if (found.broken > 0)
    throw new DiskImageError(
      path,
      `was left without all of its refcounts and is damaged in ${found.broken} places (${found.examples[0] ?? ""}): ` +
        "cloud-hypervisor disk check tells all; save what can be read with cloud-hypervisor disk convert, " +
        "or have qemu-img check -r all cut off what is lost",
    );
  log.info(`${path}: ${found.corruptions} errors mended, ${found.leaks} lost clusters given back`);
}

function runToEnd(steps: Generator<void, Qcow2Findings>): Qcow2Findings {
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}
