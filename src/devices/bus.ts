/** What every access reads where nothing answers. */
const ALL_ONES = 0xffff_ffff;

/**
 * One access of a vCPU to a port or to MMIO: where, how wide, and the value, as two 32-bit halves so that no access needs
 * a BigInt. Each vCPU thread reuses a single object.
 *
 * Before a read both halves are all ones: a device that does not answer leaves them.
 */
export class BusAccess {
  /** Bytes from the start of the device's range. */
  offset = 0;
  /** Bytes: 1, 2, 4 or, on MMIO, 8. The guest chooses. */
  size = 1;
  /** Bits 31:0 of the value. */
  lo = 0;
  /** Bits 63:32 of the value. */
  hi = 0;
}

/** A register block on a bus. Called on the thread of the vCPU that makes the access. */
export interface BusDevice {
  /** Answers a read by setting `access.lo` and, for 8 bytes, `access.hi`. */
  read(access: BusAccess): void;
  /** Takes the `access.size` bytes in `access.lo` and `access.hi`; bits above the size are zero. */
  write(access: BusAccess): void;
}

interface Range {
  readonly start: number;
  readonly end: number;
  readonly device: BusDevice;
}

/** Two devices claim the same addresses. */
export class BusConflictError extends Error {
  override readonly name = "BusConflictError";
}

/**
 * An address space of ports or of memory, as one vCPU thread dispatches it. The device is found by the start address of
 * the access; offset and size reach it unchanged.
 */
export class Bus {
  readonly #ranges: Range[] = [];
  /** Accesses come in runs to the same device. */
  #last: Range | undefined;

  /**
   * Claims [start, start + length) for a device.
   * @throws BusConflictError where part of it is taken
   */
  add(start: number, length: number, device: BusDevice): void {
    const end = start + length;
    const at = this.#ranges.findIndex((range) => range.end > start);
    const next = this.#ranges[at];
    if (next !== undefined && next.start < end)
      throw new BusConflictError(`addresses 0x${start.toString(16)}-0x${(end - 1).toString(16)} are taken`);
    this.#ranges.splice(at < 0 ? this.#ranges.length : at, 0, { start, end, device });
  }

  /** Frees the range that starts at `start`. */
  remove(start: number): void {
    const at = this.#ranges.findIndex((range) => range.start === start);
    if (at >= 0) this.#ranges.splice(at, 1);
    this.#last = undefined;
  }

  /** Reads `access.size` bytes at `address`: all ones where nothing answers. */
  read(address: number, access: BusAccess): void {
    access.lo = ALL_ONES;
    access.hi = ALL_ONES;
    const range = this.#find(address);
    if (range === undefined) return;
    access.offset = address - range.start;
    range.device.read(access);
  }

  /** Writes the value in `access` at `address`; ignored where nothing answers. */
  write(address: number, access: BusAccess): void {
    const range = this.#find(address);
    if (range === undefined) return;
    access.offset = address - range.start;
    range.device.write(access);
  }

  #find(address: number): Range | undefined {
    const last = this.#last;
    if (last !== undefined && address >= last.start && address < last.end) return last;
    let low = 0;
    let high = this.#ranges.length - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const range = this.#ranges[middle];
      if (range === undefined || address < range.start) high = middle - 1;
      else if (address >= range.end) low = middle + 1;
      else {
        this.#last = range;
        return range;
      }
    }
    return undefined;
  }
}
