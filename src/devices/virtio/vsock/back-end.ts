import { EpollEvent } from "../../../host/epoll.ts";
import { signalEventFd } from "../../../host/eventfd.ts";
import { mapAnonymous, munmap } from "../../../host/mmap.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import { VsockMuxer } from "../../../vsock/muxer.ts";
import { vsockHeader } from "../../../vsock/packet.ts";
import type { IoClient, IoLoop } from "../../io-loop.ts";
import { BackEnd, type BackEndQueue } from "../transport/back-end.ts";
import { VSOCK_RECEIVE, VSOCK_TRANSMIT, type VsockWiring, vsockDevice } from "./device.ts";
import { ReceiveRing } from "./receive-ring.ts";
import { TransmitRing } from "./transmit-ring.ts";

/** Carries packets between the driver's rings and the muxer. Nothing is in flight between two calls. */
export class VsockBackEnd implements IoClient {
  readonly #muxer: VsockMuxer;
  /** All three of them: the last is only handed over and back. */
  readonly #queues: readonly BackEndQueue[];
  readonly #receive: BackEndQueue;
  readonly #transmit: BackEndQueue;
  readonly #toGuest: ReceiveRing;
  readonly #fromGuest: TransmitRing;
  readonly #headerMemory = mapAnonymous(vsockHeader.size);
  readonly #header = vsockHeader.at(this.#headerMemory);

  /** @throws SysError, RangeError when the wiring is not that of a socket device */
  constructor(loop: Pick<IoLoop, "watch">, wiring: VsockWiring, memory: GuestMemory) {
    const { cid, listenFd, path } = wiring;
    const device = new BackEnd(vsockDevice(cid), wiring.transport, memory);
    const receive = device.queues[VSOCK_RECEIVE];
    const transmit = device.queues[VSOCK_TRANSMIT];
    if (receive === undefined || transmit === undefined) throw new RangeError("a socket device has three queues");
    this.#queues = device.queues;
    this.#receive = receive;
    this.#transmit = transmit;
    this.#toGuest = new ReceiveRing(receive, this.#headerMemory);
    const muxer = new VsockMuxer({ cid, listenFd, path, pairs: device.words });
    this.#muxer = muxer;
    this.#fromGuest = new TransmitRing(transmit, (packet, payload) => {
      muxer.receive(packet, payload);
      // A guest that waits for credit goes on while the rest of its packets is served.
      this.#send();
    });
    loop
      .watch(muxer.fd, () => {
        muxer.poll();
        this.#send();
      })
      .set(EpollEvent.IN);
    loop
      .watch(receive.doorbell, () => {
        receive.drainDoorbell();
        this.#send();
      })
      .set(EpollEvent.IN);
    loop
      .watch(transmit.doorbell, () => {
        transmit.drainDoorbell();
        this.#serve();
      })
      .set(EpollEvent.IN);
  }

  wake(): void {
    for (const queue of this.#queues) if (queue.update() === "recalled") queue.release();
    // Clients of the host wait for the guest to have a driver.
    this.#muxer.listen(this.#receive.ring !== undefined && this.#transmit.ring !== undefined);
    this.#serve();
  }

  /** The sockets wait until the guest goes on. */
  pause(): void {}

  close(): void {
    this.#muxer.close();
    this.#fromGuest.close();
    munmap(this.#headerMemory.address, this.#headerMemory.size);
  }

  #serve(): void {
    if (this.#fromGuest.drain()) signalEventFd(this.#transmit.doorbell);
    this.#send();
  }

  #send(): void {
    const queue = this.#receive;
    if (queue.ring === undefined) return;
    const result = this.#muxer.pump(this.#toGuest, this.#header);
    queue.publish();
    // Of new buffers only a device that has none wants to hear, of those too that came in between.
    if (result !== "full") queue.ring?.disableNotifications();
    if (result === "more" || (result === "full" && queue.enableNotifications())) signalEventFd(queue.doorbell);
  }
}
