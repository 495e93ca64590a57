import { EpollEvent } from "../../../host/epoll.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import type { Chardev } from "../../chardev/chardev.ts";
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

/** Carries the console's bytes between the driver's buffers and the host's end. */
export class ConsoleBackEnd implements IoClient {
  readonly #device: BackEnd;
  readonly #receive: BackEndQueue;
  readonly #transmit: BackEndQueue;
  readonly #chardev: Chardev | undefined;
  readonly #output: ConsoleOutput;

  /**
   * @param chardev the host's end, served by the same thread; undefined for a console that goes nowhere
   * @throws SysError, RangeError when the wiring is not a console's
   */
  constructor(loop: IoLoop, wiring: ConsoleWiring, memory: GuestMemory, chardev: Chardev | undefined) {
    this.#device = new BackEnd(consoleDevice(wiring.size), wiring.transport, memory);
    const receive = this.#device.queues[CONSOLE_RECEIVE];
    const transmit = this.#device.queues[CONSOLE_TRANSMIT];
    if (receive === undefined || transmit === undefined) throw new RangeError("a console has two queues");
    this.#receive = receive;
    this.#transmit = transmit;
    this.#chardev = chardev;
    if (wiring.takesInput) chardev?.feed(new ConsoleInput(receive));
    this.#output = new ConsoleOutput(transmit, chardev);
    loop
      .watch(receive.doorbell, () => {
        receive.drainDoorbell();
        this.#chardev?.updateInput();
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
    if (this.#receive.update() === "recalled") this.#receive.release();
    const change = this.#transmit.update();
    if (change === "recalled") {
      this.#output.drop();
      this.#transmit.release();
    } else if (change === "started" && this.#device.hasFeature(CONSOLE_FEATURE_SIZE)) {
      // The terminal may have changed its size since the driver read it.
      this.#device.configChanged();
    }
    this.#chardev?.updateInput();
    this.#output.pump();
  }

  pause(): void {
    this.#output.drop();
  }
}
