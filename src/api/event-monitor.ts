import type { Endpoint } from "../config/vmm-options.ts";
import { monotonicNs } from "../host/clock.ts";
import { createFile } from "../host/create-file.ts";
import { check, libc } from "../host/libc.ts";
import type { MemoryBlock } from "../host/memory-block.ts";
import { mapAnonymous } from "../host/mmap.ts";
import type { EventListener, VmmEvent } from "../vmm/control/events.ts";

/** The event monitor cannot be had. The cause says why. */
export class EventMonitorError extends Error {
  override readonly name = "EventMonitorError";
}

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
/** Longer events are cut; none is nearly so long. */
const MAX_EVENT_BYTES = 1 << 16;

/** An event as the monitor writes it: rest-api.md, section 5. @param ns since the monitor was set up */
export function eventText(event: VmmEvent, ns: number): string {
  const timestamp = { secs: Math.floor(ns / 1e9), nanos: Math.floor(ns % 1e9) };
  const properties = "properties" in event ? event.properties : null;
  return `${JSON.stringify({ timestamp, source: event.source, event: event.event, properties }, undefined, 2)}\n\n`;
}

/** Writes each event as it happens. A reader that is slow or gone loses events and stops nothing. */
export class EventMonitor {
  readonly #fd: number;
  readonly #startNs = monotonicNs();
  readonly #memory: MemoryBlock = mapAnonymous(MAX_EVENT_BYTES);
  readonly #encoder = new TextEncoder();

  /**
   * Opens the file.
   * @throws EventMonitorError
   */
  constructor(endpoint: Endpoint) {
    try {
      this.#fd = "fd" in endpoint ? endpoint.fd : createFile(endpoint.path);
      const flags = check(libc.fcntl(this.#fd, F_GETFL, 0), `use fd ${this.#fd}`);
      check(libc.fcntl(this.#fd, F_SETFL, flags | O_NONBLOCK), `make fd ${this.#fd} non-blocking`);
    } catch (cause) {
      const what = "fd" in endpoint ? `fd ${endpoint.fd}` : endpoint.path;
      throw new EventMonitorError(`cannot report events to ${what}`, { cause });
    }
  }

  /** Reports an event. */
  readonly report: EventListener = (event) => {
    const { written } = this.#encoder.encodeInto(eventText(event, monotonicNs() - this.#startNs), this.#memory.u8);
    libc.write(this.#fd, this.#memory.address, written);
  };
}
