/**
 * Turns guest writes into signals of an eventfd, without an exit to user space. Callable on any thread; in force when a
 * call returns.
 */
export interface IoEventFds {
  /** Any write at guest physical `gpa`, of whatever width and value, signals `eventFd`. @throws SysError */
  assign(gpa: number, eventFd: number): void;
  /** Takes that back. @throws SysError */
  deassign(gpa: number, eventFd: number): void;
}
