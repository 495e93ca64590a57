import { TunOffload } from "../../../net/tap-abi.ts";
import { NetState, OFFLOADS_SET } from "./device.ts";
import { NetFeature } from "./protocol.ts";

/** What a driver's feature bits let the host leave unfinished. */
const OFFLOAD_OF = new Map<number, number>([
  [NetFeature.GUEST_CSUM, TunOffload.CSUM],
  [NetFeature.GUEST_TSO4, TunOffload.TSO4],
  [NetFeature.GUEST_TSO6, TunOffload.TSO6],
  [NetFeature.GUEST_ECN, TunOffload.TSO_ECN],
  [NetFeature.GUEST_UFO, TunOffload.UFO],
]);

/** `TunOffload` flags for those feature bits of guest offloads that `has` says yes to. */
export function offloadsFor(has: (bit: number) => boolean): number {
  let flags = 0;
  for (const [bit, flag] of OFFLOAD_OF) if (has(bit)) flags |= flag;
  return flags;
}

/**
 * The `TunOffload` flags of a command that sets guest offloads (VIRTIO 1.3, 5.1.6.5.6).
 * @param mask bits 31:0 and 63:32 of the command
 * @param has whether the driver accepted a feature bit
 * @returns undefined where the command asks for what was not negotiated
 */
export function commandedOffloads(lo: number, hi: number, has: (bit: number) => boolean): number | undefined {
  const wanted = (bit: number): boolean => (((bit < 32 ? lo : hi) >>> (bit & 31)) & 1) !== 0;
  for (let bit = 0; bit < 64; bit++) if (wanted(bit) && !(OFFLOAD_OF.has(bit) && has(bit))) return undefined;
  return offloadsFor(wanted);
}

/** The offloads in force: as commanded, otherwise as negotiated. */
export function offloadsInForce(state: Uint32Array, has: (bit: number) => boolean): number {
  const commanded = Atomics.load(state, NetState.OFFLOADS);
  return commanded === 0 ? offloadsFor(has) : commanded & ~OFFLOADS_SET;
}
