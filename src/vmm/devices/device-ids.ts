/** A device is to have the identifier of another that is still there. */
export class DeviceIdInUseError extends Error {
  override readonly name = "DeviceIdInUseError";
  constructor(id: string) {
    super(`'${id}' is the id of a device that the guest has not given up yet: wait for it, or give another id`);
  }
}

/** Identifiers of devices. Generated ones are a prefix and one counter that all kinds share, names in use skipped. */
export class DeviceIds {
  /** Given to devices that are not there yet. */
  readonly #setAside: Set<string>;
  readonly #used = new Set<string>();
  #next = 0;

  /** @param given the identifiers that the user chose for devices to come */
  constructor(given: Iterable<string>) {
    this.#setAside = new Set(given);
  }

  /** The given identifier, or a new one with that prefix, in use from now on. @throws DeviceIdInUseError */
  take(given: string | undefined, prefix: string): string {
    const id = given ?? this.#generate(prefix);
    if (this.#used.has(id)) throw new DeviceIdInUseError(id);
    this.#setAside.delete(id);
    this.#used.add(id);
    return id;
  }

  /** Gives an identifier back. */
  free(id: string): void {
    this.#used.delete(id);
  }

  #generate(prefix: string): string {
    for (;;) {
      const id = `${prefix}${this.#next++}`;
      if (!this.#used.has(id) && !this.#setAside.has(id)) return id;
    }
  }
}
