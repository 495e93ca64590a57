import { type Gpa, gpa } from "../../../memory/address.ts";
import type { GpaRange } from "../../acpi/topology.ts";
import { HIGH_RAM } from "../layout.ts";
import { BootFile } from "./boot-file.ts";
import type { BootMemory } from "./boot-memory.ts";
import { BootSpaceError } from "./errors.ts";

const PAGE = 0x1000;

/**
 * Loads an initramfs to the top of the first region of boot RAM.
 * @param firstRegionBytes of the region that starts at address 0
 * @param occupied by the kernel
 * @throws BootFileError; BootSpaceError where it does not fit
 */
export function loadInitramfs(
  path: string,
  memory: BootMemory,
  firstRegionBytes: number,
  occupied: readonly GpaRange[],
): GpaRange {
  using file = new BootFile(path, "initramfs");
  const base = placeInitramfs(file.size, firstRegionBytes, occupied);
  if (base === undefined || (file.size > 0 && !memory.contains(base, file.size)))
    throw new BootSpaceError(
      `the initramfs ${path} of ${file.size} bytes does not fit guest RAM beside the kernel: give --memory a larger size`,
    );
  if (file.size > 0) memory.readFile(file.fd, 0, base, file.size);
  return { base, length: file.size };
}

/** Where an initramfs of `size` bytes goes; undefined where it would lie on the kernel or on low memory. */
export function placeInitramfs(size: number, firstRegionBytes: number, occupied: readonly GpaRange[]): Gpa | undefined {
  const base = Math.floor((firstRegionBytes - size) / PAGE) * PAGE;
  if (base < HIGH_RAM) return undefined;
  if (occupied.some((range) => base < range.base + range.length && range.base < base + size)) return undefined;
  return gpa(base);
}
