/** A TAP interface that cannot be had. The message says which, why, and what to do. */
export class TapError extends Error {
  override readonly name = "TapError";
}
