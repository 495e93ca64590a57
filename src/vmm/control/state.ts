/** What a VM is doing, as the REST API says it. `Created` is a stored configuration, or a VM that was shut down again. */
export type VmState = "Created" | "Running" | "Shutdown" | "Paused" | "BreakPoint";

/** Which state may follow which. */
const NEXT: Readonly<Record<VmState, readonly VmState[]>> = {
  Created: ["Running", "Paused", "BreakPoint", "Shutdown"],
  Running: ["Paused", "BreakPoint", "Shutdown"],
  Paused: ["Running", "Shutdown"],
  BreakPoint: ["Created", "Running"],
  Shutdown: ["Running"],
};

/** Whether a VM in state `from` may go to state `to`. */
export function isLegal(from: VmState, to: VmState): boolean {
  return NEXT[from].includes(to);
}
