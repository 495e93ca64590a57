/** A device whose whole guest-visible state lies in a block of shared memory. Any thread's instance of it will do. */
export interface StatefulDevice {
  /** Puts the state as after power-on. By the thread that builds the machine, before any other sees the device. */
  reset(): void;
  /** A copy of the state, free of anything that belongs to this host or process. No vCPU may run. */
  save(): Uint8Array;
  /**
   * Puts a saved state back, with what it implies outside the block. No vCPU may run.
   * @throws RangeError when `saved` is not a state of this device
   */
  restore(saved: Uint8Array): void;
}
