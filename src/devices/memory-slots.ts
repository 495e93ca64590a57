/** Gives the guest memory that a device moves about. Callable on any thread; in force when a call returns. */
export interface MemorySlots {
  /** Fills a slot with `size` bytes of this process at `hva`, for the guest at `gpa`. @throws SysError */
  fill(slot: number, gpa: number, size: number, hva: number): void;
  /** Takes that back. @throws SysError */
  clear(slot: number): void;
}
