import type { VmState } from "./state.ts";

/** There is no VM: nothing was created, or for a reboot nothing was booted. */
export class VmNotCreatedError extends Error {
  override readonly name = "VmNotCreatedError";
  constructor() {
    super("there is no VM: create one first");
  }
}

/** There is nothing to boot. */
export class VmMissingConfigError extends Error {
  override readonly name = "VmMissingConfigError";
  constructor() {
    super("the VM has no configuration: create it first");
  }
}

/** There is a VM already, and one process runs one VM. */
export class VmAlreadyCreatedError extends Error {
  override readonly name = "VmAlreadyCreatedError";
  constructor() {
    super("there is a VM already: delete it first");
  }
}

/** The VM is not booted. */
export class VmNotRunningError extends Error {
  override readonly name = "VmNotRunningError";
  constructor() {
    super("the VM is not running: boot it first");
  }
}

/** The VM cannot go from its state to the wanted one. */
export class InvalidTransitionError extends Error {
  override readonly name = "InvalidTransitionError";
  readonly from: VmState;
  readonly to: VmState;
  constructor(from: VmState, to: VmState) {
    super(`a VM that is ${from} cannot become ${to}`);
    this.from = from;
    this.to = to;
  }
}

/** No device, disk or memory zone has that id. */
export class UnknownDeviceError extends Error {
  override readonly name = "UnknownDeviceError";
  readonly id: string;
  constructor(id: string) {
    super(`there is no device '${id}'`);
    this.id = id;
  }
}

/** A device that belongs to the machine for good. */
export class RemovalNotAllowedError extends Error {
  override readonly name = "RemovalNotAllowedError";
  constructor(id: string) {
    super(`'${id}' cannot be removed: only disks, network, persistent memory, file system and socket devices can`);
  }
}

/** The guest ended the VM while a request was about to be carried out. */
export class VmIsOverError extends Error {
  override readonly name = "VmIsOverError";
  constructor() {
    super("the VM has just been reset or powered off: try again");
  }
}

/** The guest has not yet given up a virtual CPU that an earlier resize took away. */
export class CpuRemovalPendingError extends Error {
  override readonly name = "CpuRemovalPendingError";
  constructor() {
    super("the guest has not yet removed the virtual CPUs of an earlier resize: try again later");
  }
}

/** The VM has one vsock device already. */
export class TooManyVsockDevicesError extends Error {
  override readonly name = "TooManyVsockDevicesError";
  constructor() {
    super("the VM has a vsock device already, and it can have one");
  }
}
