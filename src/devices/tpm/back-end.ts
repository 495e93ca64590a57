import { EpollEvent } from "../../host/epoll.ts";
import { SysError } from "../../host/errno.ts";
import { drainEventFd } from "../../host/eventfd.ts";
import { type Received, receive, send } from "../../host/unix-socket.ts";
import { blockAt } from "../../threads/block-ref.ts";
import { logger } from "../../threads/log.ts";
import { StateBlock, type StateBlockOf } from "../../threads/state-block.ts";
import type { IoClient, IoLoop, Watch } from "../io-loop.ts";
import { emptyResponse, HEAD_BYTES, messageSize, ResponseCode } from "./message.ts";
import { BUFFER_BYTES, Status, type TpmWiring, tpmState } from "./state.ts";
import { cancelRequest, RESULT_BYTES } from "./swtpm.ts";

const log = logger("tpm");

/**
 * Carries a TPM's commands to swtpm and its responses back. swtpm may take seconds over a command, and nobody waits for it
 * here. A swtpm that goes away or breaks the protocol is a TPM that fails all commands.
 */
export class TpmBackEnd implements IoClient {
  readonly #state: StateBlockOf<typeof tpmState>["state"];
  readonly #wiring: TpmWiring;
  readonly #data: Watch;
  readonly #control: Watch;
  readonly #response = new Uint8Array(BUFFER_BYTES);
  /** Bytes of the response that have come. */
  #received = 0;
  #running = false;
  #alive = true;
  /** Bytes that swtpm owes on the control socket. */
  #owed = 0;

  /** @throws SysError */
  constructor(loop: Pick<IoLoop, "watch">, wiring: TpmWiring) {
    this.#wiring = wiring;
    this.#state = new StateBlock(tpmState, blockAt(wiring.block)).state;
    this.#data = loop.watch(wiring.dataFd, () => this.#attempt(() => this.#takeResponse()));
    this.#control = loop.watch(wiring.controlFd, () => this.#attempt(() => this.#takeResults()));
    this.#data.set(EpollEvent.IN);
    this.#control.set(EpollEvent.IN);
    loop
      .watch(wiring.doorbell, () => {
        drainEventFd(wiring.doorbell);
        this.#look();
      })
      .set(EpollEvent.IN);
  }

  wake(): void {
    this.#look();
  }

  /** A command under way stays so: its response is taken afterwards, and a machine built anew gives the command again. */
  pause(): void {}

  #look(): void {
    const { start, cancel } = this.#state;
    if (Atomics.load(start, 0) === 0) return;
    if (!this.#alive) this.#fail();
    else if (!this.#running) this.#attempt(() => this.#sendCommand());
    if (this.#running && Atomics.exchange(cancel, 0, 0) !== 0) this.#attempt(() => this.#sendCancel());
  }

  #sendCommand(): void {
    const { buffer } = this.#state;
    const size = messageSize(buffer);
    if (size < HEAD_BYTES || size > BUFFER_BYTES) {
      this.#complete(emptyResponse(ResponseCode.COMMAND_SIZE));
      return;
    }
    this.#running = true;
    this.#received = 0;
    // The socket is empty before a command, and holds much more than one.
    if (send(this.#wiring.dataFd, buffer.subarray(0, size)) !== size) throw new SwtpmError("it takes no command");
  }

  #takeResponse(): void {
    const bytes = bytesOf(receive(this.#wiring.dataFd));
    if (bytes === undefined) return;
    if (!this.#running || this.#received + bytes.length > BUFFER_BYTES)
      throw new SwtpmError("it says more than it may");
    this.#response.set(bytes, this.#received);
    this.#received += bytes.length;
    if (this.#received < HEAD_BYTES) return;
    const response = this.#response.subarray(0, this.#received);
    const size = messageSize(response);
    if (size < response.length || size > BUFFER_BYTES) throw new SwtpmError("its response has no right size");
    if (size === response.length) this.#complete(response);
  }

  #sendCancel(): void {
    const request = cancelRequest();
    if (send(this.#wiring.controlFd, request) !== request.length) throw new SwtpmError("it takes no request");
    this.#owed += RESULT_BYTES;
  }

  /** Whether a command could be cancelled shows in its response. */
  #takeResults(): void {
    const bytes = bytesOf(receive(this.#wiring.controlFd));
    if (bytes === undefined) return;
    if (bytes.length > this.#owed) throw new SwtpmError("it says more than it was asked");
    this.#owed -= bytes.length;
  }

  #complete(response: Uint8Array): void {
    const { start, buffer } = this.#state;
    buffer.fill(0);
    buffer.set(response);
    this.#running = false;
    Atomics.store(start, 0, 0);
  }

  #fail(): void {
    Atomics.or(this.#state.status, 0, Status.ERROR);
    this.#complete(emptyResponse(ResponseCode.FAILURE));
  }

  /** Does what may fail with swtpm, and does without it from then on. */
  #attempt(act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!(error instanceof SwtpmError || error instanceof SysError)) throw error;
      log.error(`the TPM fails until the VM is started again: swtpm is lost: ${error.message}`);
      this.#alive = false;
      this.#data.set(0);
      this.#control.set(0);
      if (Atomics.load(this.#state.start, 0) !== 0) this.#fail();
    }
  }
}

/** swtpm does not do as agreed. */
class SwtpmError extends Error {
  override readonly name = "SwtpmError";
}

/** @throws SwtpmError at the end of what the other side sends */
function bytesOf(received: Received | undefined): Uint8Array | undefined {
  if (received === undefined) return undefined;
  if (received.bytes.length === 0) throw new SwtpmError("it has closed its socket");
  return received.bytes;
}
