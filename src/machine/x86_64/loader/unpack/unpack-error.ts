/** Compressed data that breaks its format's rules, or uses a part of it that no kernel build produces. */
export class UnpackError extends Error {
  override readonly name = "UnpackError";

  /** @param format as "xz" @param offset into the compressed data, in bytes */
  constructor(format: string, reason: string, offset?: number, options?: ErrorOptions) {
    super(`${format}: ${reason}${offset === undefined ? "" : ` at offset ${offset}`}`, options);
  }
}
