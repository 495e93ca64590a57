import type { MachineRequests } from "../devices/lines.ts";
import { type IoSpace, type Vcpu, VcpuExit } from "../hypervisor/hypervisor.ts";
import { type ThreadControl, ThreadRequest } from "../threads/control.ts";

/** Why a vCPU stopped running: it was told to, or the guest asked something of the whole machine. */
export type VcpuOutcome = "stopped" | "reset" | "power-off";

/** What the devices on this vCPU's thread asked for during the access just served. */
export class PendingRequest implements MachineRequests {
  outcome: "reset" | "power-off" | undefined;

  reset(): void {
    this.outcome = "reset";
  }

  powerOff(): void {
    this.outcome = "power-off";
  }
}

/** The machine as one vCPU thread sees it. */
export interface VcpuMachine {
  readonly ports: IoSpace;
  readonly mmio: IoSpace;
  readonly pending: PendingRequest;
  /** A level-triggered interrupt with this vector ended. */
  endOfInterrupt(vector: number): void;
}

/**
 * Runs a vCPU until it is stopped or the guest asks for a reset or to be powered off. Exits are served here, on the vCPU's
 * own thread.
 * @throws HypervisorError when the vCPU cannot go on
 */
export function runVcpu(vcpu: Vcpu, machine: VcpuMachine, control: ThreadControl): VcpuOutcome {
  const { ports, mmio, pending } = machine;
  if (control.request !== ThreadRequest.RUN && obey(control) === ThreadRequest.STOP) return "stopped";
  for (;;) {
    switch (vcpu.run(ports, mmio)) {
      case VcpuExit.SERVED:
        if (pending.outcome !== undefined) return pending.outcome;
        break;
      case VcpuExit.INTERRUPTED:
        if (control.request !== ThreadRequest.RUN && obey(control) === ThreadRequest.STOP) return "stopped";
        break;
      case VcpuExit.END_OF_INTERRUPT:
        machine.endOfInterrupt(vcpu.eoiVector);
        break;
      case VcpuExit.HALTED:
      case VcpuExit.TRIPLE_FAULT:
      case VcpuExit.RESET:
        return "reset";
      case VcpuExit.POWER_OFF:
        return "power-off";
    }
  }
}

function obey(control: ThreadControl): number {
  return control.request === ThreadRequest.PAUSE ? control.park() : control.request;
}
