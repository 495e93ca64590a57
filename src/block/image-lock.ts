import { tryLockFile } from "../host/file-lock.ts";
import { DiskImageError } from "./image-error.ts";

/**
 * Locks an image against use by another process, for as long as its open file description lives: shared for reading,
 * exclusive for writing.
 * @param length bytes from the start; 0 is the whole file, whatever its size will be
 * @throws DiskImageError when somebody else has it, or it cannot be locked
 */
export function lockImage(path: string, fd: number, readonly: boolean, length: number): void {
  let isOurs: boolean;
  try {
    isOurs = tryLockFile(fd, readonly ? "shared" : "exclusive", length);
  } catch (cause) {
    throw new DiskImageError(path, "cannot be locked", { cause });
  }
  if (!isOurs)
    throw new DiskImageError(
      path,
      readonly
        ? "is being written by another process, or by another disk of this VM: stop that one first"
        : "is in use by another process, or by another disk of this VM: stop that one first, or let all open it with readonly=on",
    );
}
