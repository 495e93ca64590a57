/**
 * Requests on swtpm's control socket (swtpm_ioctls(3)): a command and what it takes, 32-bit words, big-endian; the answer
 * starts with a result, 0 for success.
 */
export const SwtpmCommand = {
  GET_CAPABILITY: 1,
  INIT: 2,
  GET_TPMESTABLISHED: 4,
  SET_LOCALITY: 5,
  CANCEL_TPM_CMD: 9,
  STOP: 14,
  SET_DATAFD: 16,
  SET_BUFFERSIZE: 17,
} as const;

/** Bits of the capabilities. */
export const SwtpmCapability = {
  INIT: 1 << 0,
  GET_TPMESTABLISHED: 1 << 2,
  SET_LOCALITY: 1 << 3,
  CANCEL_TPM_CMD: 1 << 5,
  STOP: 1 << 10,
  SET_DATAFD: 1 << 12,
  SET_BUFFERSIZE: 1 << 13,
} as const;

/** Bytes of an answer that is a result alone. */
export const RESULT_BYTES = 4;

/** A request: a command and the words it takes. */
export function swtpmRequest(command: number, ...words: readonly number[]): Uint8Array {
  const request = new Uint8Array(4 + 4 * words.length);
  const view = new DataView(request.buffer);
  for (const [i, word] of [command, ...words].entries()) view.setUint32(4 * i, word);
  return request;
}

/** Asks for the command under way to be given up. */
export const cancelRequest = (): Uint8Array => swtpmRequest(SwtpmCommand.CANCEL_TPM_CMD);
