/** Heads of commands and responses of a TPM (TPM 2.0 Library, Part 1, 18): tag, size and code, big-endian. */
export const HEAD_BYTES = 10;
const SIZE_OFFSET = 2;
const CODE_OFFSET = 6;

const TAG_NO_SESSIONS = 0x8001;
/** Response codes (Part 2, 6.6.3). */
export const ResponseCode = { SUCCESS: 0, INITIALIZE: 0x100, FAILURE: 0x101, COMMAND_SIZE: 0x142 } as const;

const COMMAND_STARTUP = 0x144;
const STARTUP_CLEAR = 0;

/** The size that a head says its message has, in bytes; 0 where the head is not whole. */
export function messageSize(head: Uint8Array): number {
  return head.length < HEAD_BYTES ? 0 : viewOf(head).getUint32(SIZE_OFFSET);
}

/** The code of a whole message. */
export const messageCode = (message: Uint8Array): number => viewOf(message).getUint32(CODE_OFFSET);

/** A response without a body. */
export function emptyResponse(code: number): Uint8Array {
  return message(HEAD_BYTES, code);
}

/** TPM2_Startup(CLEAR) (Part 3, 9.3), which the firmware of a PC would give. */
export function startupCommand(): Uint8Array {
  const command = message(HEAD_BYTES + 2, COMMAND_STARTUP);
  viewOf(command).setUint16(HEAD_BYTES, STARTUP_CLEAR);
  return command;
}

function message(bytes: number, code: number): Uint8Array {
  const made = new Uint8Array(bytes);
  const view = viewOf(made);
  view.setUint16(0, TAG_NO_SESSIONS);
  view.setUint32(SIZE_OFFSET, bytes);
  view.setUint32(CODE_OFFSET, code);
  return made;
}

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array): DataView =>
  new DataView(buffer, byteOffset, byteLength);
