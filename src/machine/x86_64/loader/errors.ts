/** What a boot file is to the machine, and the option that names it. */
export type BootFileRole = "kernel" | "firmware" | "initramfs";

/** A boot file cannot be opened or read. */
export class BootFileError extends Error {
  override readonly name = "BootFileError";
}

/** A kernel or firmware image is not what it should be. */
export class KernelImageError extends Error {
  override readonly name = "KernelImageError";
}

/** A boot file or the command line does not fit where it has to go. */
export class BootSpaceError extends Error {
  override readonly name = "BootSpaceError";
}
