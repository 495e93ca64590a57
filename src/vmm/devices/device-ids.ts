/** Generated identifiers of devices: a prefix and one counter that all kinds share, names in use skipped. */
export class DeviceIds {
  readonly #used: Set<string>;
  #next = 0;

  /** @param given the identifiers that the user chose */
  constructor(given: Iterable<string>) {
    this.#used = new Set(given);
  }

  /** The given identifier, or a new one with that prefix. */
  of(given: string | undefined, prefix: string): string {
    if (given !== undefined) return given;
    for (;;) {
      const id = `${prefix}${this.#next++}`;
      if (this.#used.has(id)) continue;
      this.#used.add(id);
      return id;
    }
  }
}
