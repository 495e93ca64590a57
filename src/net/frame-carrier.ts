import type { FrameBatch } from "./frame-batch.ts";

/**
 * What carries the frames of one pair of queues on the host. Used by one thread. Frames are described by iovecs into guest
 * memory, which the kernel reads and writes: nobody copies them.
 *
 * A carrier that cannot go on throws SysError; a frame that cannot be carried is dropped.
 */
export interface FrameCarrier {
  /** To be waited for: readable while frames have come in, writable while frames can be sent. Non-blocking. */
  readonly fd: number;
  /** Whether a struct virtio_net_hdr_v1 of 12 bytes precedes each frame. Without, nothing may be offloaded. */
  readonly hasHeader: boolean;
  /** The host's side is gone for good: no frames come, all that are sent are dropped, and `fd` is not worth waiting for. */
  readonly ended: boolean;
  /**
   * Receives frames into the rooms of a batch, in order.
   * @returns how many have been used up; fewer than there are when no more frames wait
   * @throws SysError
   */
  receive(rooms: FrameBatch): number;
  /**
   * Sends the frames of a batch, in order.
   * @returns how many are done with; fewer than there are when `fd` has to become writable first. The rest is given again
   *   then, or never
   * @throws SysError
   */
  send(frames: FrameBatch): number;
  /**
   * Says what the guest finishes on its own.
   * @param offloads `TunOffload` flags
   * @throws SysError
   */
  setOffloads(offloads: number): void;
  /**
   * The guest's driver is gone: what came in for it is dropped, where the next one may not understand it.
   * @throws SysError
   */
  driverLeft(): void;
  /** Whether the guest uses this pair: it gets no frames otherwise. @throws SysError */
  setActive(active: boolean): void;
  /** Gives up what this thread holds. */
  close(): void;
}
