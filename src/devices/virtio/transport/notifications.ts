import type { MsixVectors } from "../../pci/msix.ts";
import { DeviceStatus, type TransportState } from "./state.ts";

/** Interrupts for a change of the configuration. From any thread, without the lock. */
export function notifyConfigChange(state: TransportState, vectors: MsixVectors): void {
  Atomics.store(state.configChanged, 0, 1);
  if ((Atomics.load(state.status, 0) & DeviceStatus.DRIVER_OK) !== 0) vectors.raise(state.configVector);
}

/** The device cannot go on until the driver resets it (VIRTIO 1.3, 2.1.2). From any thread, without the lock. */
export function needReset(state: TransportState, vectors: MsixVectors): void {
  Atomics.or(state.status, 0, DeviceStatus.NEEDS_RESET);
  notifyConfigChange(state, vectors);
}
