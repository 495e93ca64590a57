/** A disk image that cannot be used. The message says which, why, and what to do. */
export class DiskImageError extends Error {
  override readonly name = "DiskImageError";

  constructor(path: string, problem: string, options?: ErrorOptions) {
    // Names that images give other files may hold anything.
    super(`disk image ${path} ${problem}`.replaceAll(/\p{Cc}/gu, "?"), options);
  }
}
