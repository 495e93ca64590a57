import { EpollEvent } from "../../../host/epoll.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import type { IoClient, IoLoop } from "../../io-loop.ts";
import { BackEnd, type BackEndQueue } from "../transport/back-end.ts";
import {
  CONSOLE_FEATURE_SIZE,
  CONSOLE_RECEIVE,
  CONSOLE_TRANSMIT,
  type ConsoleWiring,
  consoleDevice,
} from "./device.ts";
import { ConsoleInput } from "./input.ts";
import { ConsoleOutput } from "./output.ts";

/** Carries the console's bytes between the driver's buffers and the host's descriptors. */
export class ConsoleBackEnd implements IoClient {
  readonly #device: BackEnd;
  readonly #receive: BackEndQueue;
  readonly #transmit: BackEndQueue;
  readonly #input: ConsoleInput | undefined;
  readonly #output: ConsoleOutput;

  /** @throws SysError, RangeError when the wiring is not a console's */
  constructor(loop: IoLoop, wiring: ConsoleWiring, memory: GuestMemory) {
    this.#device = new BackEnd(consoleDevice(wiring.size), wiring.transport, memory);
    const receive = this.#device.queues[CONSOLE_RECEIVE];
    const transmit = this.#device.queues[CONSOLE_TRANSMIT];
    if (receive === undefined || transmit === undefined) throw new RangeError("a console has two queues");
    this.#receive = receive;
    this.#transmit = transmit;
    this.#input = wiring.inputFd === undefined ? undefined : new ConsoleInput(loop, receive, wiring.inputFd);
    this.#output = new ConsoleOutput(loop, transmit, wiring.outputFd);
    loop
      .watch(receive.doorbell, () => {
        receive.drainDoorbell();
        this.#input?.update();
      })
      .set(EpollEvent.IN);
    loop
      .watch(transmit.doorbell, () => {
        transmit.drainDoorbell();
        this.#output.pump();
      })
      .set(EpollEvent.IN);
  }

  wake(): void {
    if (this.#receive.update() === "recalled") {
      this.#input?.stop();
      this.#receive.release();
    }
    const change = this.#transmit.update();
    if (change === "recalled") {
      this.#output.drop();
      this.#transmit.release();
    } else if (change === "started" && this.#device.hasFeature(CONSOLE_FEATURE_SIZE)) {
      // The terminal may have changed its size since the driver read it.
      this.#device.configChanged();
    }
    this.#input?.update();
    this.#output.pump();
  }

  pause(): void {
    this.#input?.stop();
    this.#output.drop();
  }
}
