import { HEAD_BYTES, messageCode, messageSize, ResponseCode, startupCommand } from "../devices/tpm/message.ts";
import { BUFFER_BYTES, type TpmWiring } from "../devices/tpm/state.ts";
import { RESULT_BYTES, SwtpmCapability, SwtpmCommand, swtpmRequest } from "../devices/tpm/swtpm.ts";
import { createEventFd } from "../host/eventfd.ts";
import { libc } from "../host/libc.ts";
import { waitReadable } from "../host/poll.ts";
import { connectTo, receive, send, socketPair } from "../host/unix-socket.ts";
import type { Descriptors } from "./descriptors.ts";

/** swtpm may have to make a new TPM first, which takes it long on a busy host. */
const PATIENCE_MS = 30_000;

const NEEDED =
  SwtpmCapability.INIT |
  SwtpmCapability.GET_TPMESTABLISHED |
  SwtpmCapability.SET_LOCALITY |
  SwtpmCapability.CANCEL_TPM_CMD |
  SwtpmCapability.STOP |
  SwtpmCapability.SET_DATAFD |
  SwtpmCapability.SET_BUFFERSIZE;

/** A swtpm that cannot be had, or is none. */
export class TpmError extends Error {
  override readonly name = "TpmError";
}

/**
 * Connects to a swtpm, starts its TPM as after power-on and gives it what firmware would: TPM2_Startup.
 * @returns the wiring, all but its block
 * @throws TpmError saying what to do
 */
export function connectTpm(path: string, descriptors: Descriptors): Omit<TpmWiring, "block"> {
  try {
    const controlFd = descriptors.own(connectTo(path));
    const [dataFd, theirs] = socketPair();
    descriptors.own(dataFd);
    const control = new Swtpm(controlFd);
    try {
      const capabilities = control.ask([SwtpmCommand.GET_CAPABILITY], RESULT_BYTES + 4).getUint32(RESULT_BYTES);
      if ((capabilities & NEEDED) !== NEEDED) throw new TpmError("it is too old: its control channel lacks requests");
      control.ask([SwtpmCommand.SET_DATAFD], RESULT_BYTES, [theirs]);
    } finally {
      libc.close(theirs);
    }
    control.ask([SwtpmCommand.STOP], RESULT_BYTES);
    control.ask([SwtpmCommand.SET_BUFFERSIZE, BUFFER_BYTES], RESULT_BYTES + 12);
    control.ask([SwtpmCommand.INIT, 0], RESULT_BYTES);
    control.ask([SwtpmCommand.SET_LOCALITY, 0], RESULT_BYTES);
    const established = control.ask([SwtpmCommand.GET_TPMESTABLISHED], RESULT_BYTES + 4).getUint8(RESULT_BYTES) !== 0;
    startUp(dataFd);
    return { doorbell: descriptors.own(createEventFd()), established, dataFd, controlFd };
  } catch (error) {
    const cause = error instanceof RangeError ? new TpmError(error.message) : error;
    throw new TpmError(
      `the TPM at ${path} cannot be used: give --tpm the control socket of a running swtpm that no other VM uses ` +
        `(swtpm socket --tpm2 --tpmstate dir=... --ctrl type=unixio,path=${path})`,
      { cause },
    );
  }
}

/** The control socket of a swtpm. */
class Swtpm {
  readonly #fd: number;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** Sends a request and waits for its answer of `bytes` bytes. @throws TpmError when there is none or the result is no success */
  ask([command = 0, ...words]: readonly number[], bytes: number, fds: readonly number[] = []): DataView {
    const request = swtpmRequest(command, ...words);
    if (send(this.#fd, request, fds) !== request.length) throw new TpmError(`it takes no request ${command}`);
    const answer = readWhole(this.#fd, bytes, `request ${command}`);
    const result = answer.getUint32(0);
    if (result !== 0) throw new TpmError(`it fails request ${command} with 0x${result.toString(16)}`);
    return answer;
  }
}

function startUp(dataFd: number): void {
  const command = startupCommand();
  if (send(dataFd, command) !== command.length) throw new TpmError("it takes no command");
  const response = new Uint8Array(readWhole(dataFd, HEAD_BYTES, "TPM2_Startup").buffer);
  const code = messageCode(response);
  if (messageSize(response) !== HEAD_BYTES || (code !== ResponseCode.SUCCESS && code !== ResponseCode.INITIALIZE))
    throw new TpmError(`TPM2_Startup fails with 0x${code.toString(16)}: is it a TPM 2.0 (swtpm --tpm2)?`);
}

function readWhole(fd: number, bytes: number, what: string): DataView {
  const whole = new Uint8Array(bytes);
  const deadline = performance.now() + PATIENCE_MS;
  for (let done = 0; done < bytes; ) {
    const left = deadline - performance.now();
    if (left <= 0) throw new TpmError(`it does not answer ${what} within ${PATIENCE_MS / 1000} s`);
    if (!waitReadable(fd, Math.ceil(left))) continue;
    const part = receive(fd);
    if (part === undefined) continue;
    if (part.bytes.length === 0) throw new TpmError(`it hangs up at ${what}`);
    if (part.bytes.length > bytes - done) throw new TpmError(`its answer to ${what} is too long`);
    whole.set(part.bytes, done);
    done += part.bytes.length;
  }
  return new DataView(whole.buffer);
}
