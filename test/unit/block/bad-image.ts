import type { DiskImageOptions } from "../../../src/block/disk-image.ts";
import { DiskImageError } from "../../../src/block/image-error.ts";
import { DiskDriver } from "./disk-driver.ts";

/** Does something to a disk that may end in an I/O error, which is told to the guest. Any other error is thrown. */
export type Attempt = (act: () => unknown) => void;

/** The format is found out, as with an image of which the user has not said it. */
export type BadImageOptions = Partial<DiskImageOptions> & { readonly readonly: boolean };

/**
 * Uses an image that may be malformed. Errors are fine, as long as they are the ones that are told to the user or the guest.
 * @param read what is done to every disk, and `write` to those that may be written
 */
export async function useBadImage(
  path: string,
  options: BadImageOptions,
  read: (disk: DiskDriver, attempt: Attempt) => void,
  write: (disk: DiskDriver, attempt: Attempt) => void,
): Promise<"refused" | "used"> {
  let driver: DiskDriver;
  try {
    driver = await DiskDriver.open(path, { format: undefined, ...options });
  } catch (error) {
    if (!(error instanceof DiskImageError)) throw error;
    return "refused";
  }
  using disk = driver;
  read(disk, attempt);
  if (!options.readonly) write(disk, attempt);
  return "used";
}

function attempt(act: () => unknown): void {
  try {
    act();
  } catch (error) {
    if (!(error instanceof Error) || !/: errno \d+$/.test(error.message)) throw error;
  }
}
