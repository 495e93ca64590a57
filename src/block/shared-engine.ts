import { Completions } from "./completions.ts";
import type { IoEngine } from "./engine.ts";
import type { OpenEngine } from "./load-engine.ts";

/**
 * Has disks whose queues one thread serves share an engine, so that the thread can wait for all of them at once.
 * @param open opens the engine
 * @param count disks that will ask for it, all for as many tags
 * @returns gives each disk its share. A wait of one is a wait of all, after which each has to be asked for completions
 */
export function sharedEngine(open: OpenEngine, count: number): OpenEngine {
  let hub: EngineHub | undefined;
  return (tags, cached) => {
    hub ??= new EngineHub(open(tags * count, cached), tags);
    return hub.share();
  };
}

class EngineHub {
  /** Completions that were taken from the engine, and not yet by the disks that they are of. */
  pending = 0;
  readonly engine: IoEngine;
  readonly #tags: number;
  readonly #shares: EngineShare[] = [];
  #open = 0;

  /** @param tags of each share */
  constructor(engine: IoEngine, tags: number) {
    this.engine = engine;
    this.#tags = tags;
  }

  share(): IoEngine {
    const share = new EngineShare(this, this.#shares.length * this.#tags, this.#tags);
    this.#shares.push(share);
    this.#open++;
    return share;
  }

  /** Hands out what has completed. */
  collect(): void {
    const { engine } = this;
    while (engine.next()) {
      const index = Math.floor(engine.tag / this.#tags);
      this.#shares[index]?.done.add(engine.tag - index * this.#tags, engine.result);
      this.pending++;
    }
  }

  /** The last one shuts the door. */
  close(): void {
    this.#open--;
    if (this.#open === 0) this.engine.close();
  }
}

/** What one disk sees of the engine: its tags are those from `firstTag` on. */
class EngineShare implements IoEngine {
  tag = 0;
  result = 0;
  readonly done: Completions;
  readonly #hub: EngineHub;
  readonly #firstTag: number;

  constructor(hub: EngineHub, firstTag: number, tags: number) {
    this.#hub = hub;
    this.#firstTag = firstTag;
    this.done = new Completions(tags);
  }

  read(fd: number, iovecs: number, count: number, buffer: number, length: number, offset: number, tag: number): void {
    this.#hub.engine.read(fd, iovecs, count, buffer, length, offset, tag + this.#firstTag);
  }

  write(fd: number, iovecs: number, count: number, buffer: number, length: number, offset: number, tag: number): void {
    this.#hub.engine.write(fd, iovecs, count, buffer, length, offset, tag + this.#firstTag);
  }

  sync(fd: number, tag: number): void {
    this.#hub.engine.sync(fd, tag + this.#firstTag);
  }

  watch(eventFd: number): void {
    this.#hub.engine.watch(eventFd);
  }

  wait(block: boolean): void {
    this.#hub.engine.wait(block && this.#hub.pending === 0);
  }

  next(): boolean {
    const { done } = this;
    if (done.count === 0) this.#hub.collect();
    if (!done.take()) return false;
    this.#hub.pending--;
    this.tag = done.tag;
    this.result = done.result;
    return true;
  }

  close(): void {
    this.#hub.close();
  }
}
