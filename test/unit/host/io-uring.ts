import { IoUringOp } from "../../../src/host/io-uring/abi.ts";
import { IoUring, IoUringUnavailableError } from "../../../src/host/io-uring/io-uring.ts";

/** Why this machine cannot run the tests that need io_uring; undefined when it can. */
export const noIoUring: string | undefined = (() => {
  try {
    new IoUring(1, 1, [IoUringOp.NOP]).close();
    return undefined;
  } catch (error) {
    if (!(error instanceof IoUringUnavailableError)) throw error;
    console.warn(`tests of io_uring are skipped: ${error.message}`);
    return error.message;
  }
})();
