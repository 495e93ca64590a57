import { FrameBatch } from "../../../net/frame-batch.ts";
import type { RateGate, RateGateWiring } from "../../rate-limit/rate-gate.ts";

/** The gates of a pair of queues as plain data; undefined where there is no limit. */
export interface PairGateWiring {
  readonly receive: RateGateWiring | undefined;
  readonly transmit: RateGateWiring | undefined;
}

/** The gates of a pair of queues on its thread. */
export interface PairGates {
  readonly receive: RateGate | undefined;
  readonly transmit: RateGate | undefined;
}

/**
 * A frame is paid for when it has been moved, since nobody knows its length before; then the queue waits until the limiter has
 * been paid. So few frames are moved at a time that what is owed stays small.
 */
const LIMITED_FRAMES = 8;

/** The frames that may be moved at a time. */
export const batchFrames = (gate: RateGate | undefined): number =>
  gate === undefined ? FrameBatch.maxFrames : LIMITED_FRAMES;
