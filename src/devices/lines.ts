/** An edge-triggered interrupt input. May be pulsed from any thread. */
export interface InterruptLine {
  pulse(): void;
}

/** What a device can ask of the machine it sits in. Callable from any thread; takes effect when the access is over. */
export interface MachineRequests {
  /** Cold reset: the VM is torn down and built anew. */
  reset(): void;
  /** Power off. */
  powerOff(): void;
}

/** How message-signalled interrupts reach the guest: one entry of the interrupt routing table for each GSI. */
export interface MsiRouter {
  /**
   * Routes a GSI to an MSI message, in force when the call returns.
   * @param gsi the GSI, bound to its eventfd for life
   * @param addressLo bits 31:0 of the message address
   * @param addressHi bits 63:32
   * @param data the message data
   */
  route(gsi: number, addressLo: number, addressHi: number, data: number): void;
  /** Removes the route: signals of the GSI's eventfd go nowhere until the next `route`. */
  unroute(gsi: number): void;
}

/** A GSI and the eventfd that raises it (an irqfd for the GSI's whole life). */
export interface Irqfd {
  readonly gsi: number;
  readonly eventFd: number;
}
