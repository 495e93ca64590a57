import { atomic32, bytes, struct, u32, u32s } from "../../host/struct.ts";
import type { BlockRef } from "../../threads/block-ref.ts";

/** Bytes of the buffer that commands and responses share. */
export const BUFFER_BYTES = 0xf80;

/** CTRL_STS (TCG PC Client Platform TPM Profile 1.05, 6.5.3.8). */
export const Status = { ERROR: 1, IDLE: 2 } as const;

/**
 * The TPM's registers. While `start` is 1 the buffer and the error bit belong to the back end, which gives them back by
 * storing 0; otherwise they are the vCPUs', under the lock.
 */
export const tpmState = struct("TPM command response buffer", {
  /** CTRL_START: a command is being carried out. */
  start: atomic32,
  /** CTRL_CANCEL: it is to be given up. */
  cancel: atomic32,
  /** CTRL_STS. */
  status: atomic32,
  /** Locality 0 was requested and granted. */
  granted: u32,
  /** CTRL_CMD_SIZE to CTRL_RSP_HADDR, which the driver may write and which mean nothing then. */
  places: u32s(6),
  buffer: bytes(BUFFER_BYTES),
});

/** A TPM as plain data. */
export interface TpmWiring {
  /** `CrbTpm.blockSize` bytes. */
  readonly block: BlockRef;
  /** The eventfd that tells the back end of a command or its cancellation. */
  readonly doorbell: number;
  /** Whether the TPM has seen a dynamic launch. */
  readonly established: boolean;
  /** Sockets to swtpm: commands and responses of the TPM, and of swtpm itself. */
  readonly dataFd: number;
  readonly controlFd: number;
}
