import type { Disk } from "../../../src/block/disk.ts";
import type { OpenedImage } from "../../../src/block/disk-image.ts";
import type { OpenQueue } from "../../../src/block/open-disk.ts";
import { BlockQueue } from "../../../src/devices/virtio/block/block-queue.ts";
import { BlockThread } from "../../../src/devices/virtio/block/block-thread.ts";
import { blockDevice } from "../../../src/devices/virtio/block/device.ts";
import { BackEnd } from "../../../src/devices/virtio/transport/back-end.ts";
import { EpollEvent } from "../../../src/host/epoll.ts";
import { Errno } from "../../../src/host/errno.ts";
import { blockAt } from "../../../src/threads/block-ref.ts";
import { ThreadControl, ThreadRequest } from "../../../src/threads/control.ts";
import { settings } from "../../unit/devices/virtio/block/harness.ts";
import type { Input } from "../engine/input.ts";
import { type GuestBuffer, VirtioGuest } from "./virtio-guest.ts";

const SECTOR = 512;
const QUEUE_SIZE = 128;
const HEADER_BYTES = 16;
const SEGMENT_BYTES = 16;
const MOST_SECTORS = 24;
/** VIRTIO 1.3, 5.2.6. */
const RequestType = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;
/** Those, and one that there is not. */
const TYPES: readonly [number, ...number[]] = [0, 1, 4, 8, 11, 13, 2];

/** Where the thread would sleep with nothing under way, it is asked to stop: it goes on when the harness wakes it. */
class SleeplessDisk implements Disk {
  readonly #disk: Disk;
  /** Bytes. */
  readonly #size: number;
  readonly #sleep: () => void;

  constructor(disk: Disk, size: number, sleep: () => void) {
    this.#disk = disk;
    this.#size = size;
    this.#sleep = sleep;
  }
  get tags(): number {
    return this.#disk.tags;
  }
  get underWay(): number {
    return this.#disk.underWay;
  }
  get tag(): number {
    return this.#disk.tag;
  }
  get error(): number {
    // The kernel was given an address that is not the guest's.
    if (this.#disk.error === Errno.EFAULT) throw new Error("a request beside guest RAM");
    return this.#disk.error;
  }
  segments(tag: number): Uint32Array {
    return this.#disk.segments(tag);
  }
  read(...request: Parameters<Disk["read"]>): void {
    this.#check(request[1], request[2]);
    this.#disk.read(...request);
  }
  write(...request: Parameters<Disk["write"]>): void {
    this.#check(request[1], request[2]);
    this.#disk.write(...request);
  }
  flush(tag: number): void {
    this.#disk.flush(tag);
  }
  discard(tag: number, offset: number, length: number): void {
    this.#check(offset, length);
    this.#disk.discard(tag, offset, length);
  }
  writeZeroes(tag: number, offset: number, length: number, mayUnmap: boolean): void {
    this.#check(offset, length);
    this.#disk.writeZeroes(tag, offset, length, mayUnmap);
  }
  watch(): void {}
  wait(block: boolean): void {
    if (block && this.#disk.underWay === 0) this.#sleep();
    else this.#disk.wait(block);
  }
  next(): boolean {
    return this.#disk.next();
  }
  close(): void {
    this.#disk.close();
  }

  #check(offset: number, length: number): void {
    if (offset < 0 || length < 0 || offset + length > this.#size || (offset | length) % SECTOR !== 0)
      throw new Error(`a request of ${length} bytes at ${offset}`);
  }
}

/** A header, and behind it a segment for DISCARD and WRITE_ZEROES. */
function requestOf(input: Input, sectors: number): Uint8Array {
  const type = input.pick(TYPES);
  const bytes = new DataView(new ArrayBuffer(type >= 11 ? 32 : 16));
  const sector = (): bigint => BigInt(input.below(8) === 1 ? input.edge(64) : input.below(sectors));
  bytes.setUint32(0, type, true);
  bytes.setBigUint64(8, BigInt.asUintN(64, sector()), true);
  if (type >= 11) {
    bytes.setBigUint64(16, BigInt.asUintN(64, sector()), true);
    bytes.setUint32(24, input.below(8) === 1 ? input.edge(32) : input.below(16), true);
    bytes.setUint32(28, input.below(4) === 1 ? input.edge(32) : input.below(2), true);
  }
  return new Uint8Array(bytes.buffer);
}

/** The header of a request, its data or segments, and its status. */
function chainOf(input: Input, sectors: number): readonly GuestBuffer[] {
  const type = input.pick(TYPES);
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  header.setUint32(0, type, true);
  header.setUint32(8, input.below(sectors), true);
  return [
    { bytes: new Uint8Array(header.buffer), length: HEADER_BYTES, writable: false },
    ...dataOf(input, type, sectors),
    { length: 1, writable: true },
  ];
}

function dataOf(input: Input, type: number, sectors: number): readonly GuestBuffer[] {
  if (type === RequestType.DISCARD || type === RequestType.WRITE_ZEROES) {
    const segments = Array.from({ length: 1 + input.below(3) }, () => {
      const segment = new DataView(new ArrayBuffer(SEGMENT_BYTES));
      segment.setUint32(0, input.below(sectors), true);
      segment.setUint32(8, 1 + input.below(sectors >> 2), true);
      segment.setUint32(12, type === RequestType.WRITE_ZEROES ? input.below(2) : 0, true);
      return new Uint8Array(segment.buffer);
    });
    return segments.map((bytes) => ({ bytes, length: SEGMENT_BYTES, writable: false }));
  }
  if (type > RequestType.OUT) return type === RequestType.GET_ID ? [{ length: 20, writable: true }] : [];
  const total = SECTOR * (1 + input.below(MOST_SECTORS));
  const cut = input.bool() ? total : 1 + (input.u16() % total);
  return [cut, total - cut]
    .filter((length) => length > 0)
    .map((length) => ({ length, writable: type === RequestType.IN }));
}

/**
 * A guest with a block device over an image.
 * @param open as `diskOpener` gives it
 * @param fresh called before every run, whose disk is then opened anew
 */
export function blockGuest(image: OpenedImage, open: OpenQueue, fresh?: () => void): VirtioGuest {
  const of = settings(image, { queueSize: QUEUE_SIZE });
  return new VirtioGuest({
    device: blockDevice(of),
    fresh: fresh !== undefined,
    ramBytes: 0x1_0000,
    request: (input) => requestOf(input, image.size / SECTOR),
    chain: (input) => chainOf(input, image.size / SECTOR),
    serve: (loop, transport, memory) => {
      fresh?.();
      const backEnd = new BackEnd(blockDevice(of), transport, memory);
      const [queue] = backEnd.queues;
      const [wiring] = transport.queues;
      if (queue === undefined || wiring === undefined) throw new RangeError("no queue");
      const control = new ThreadControl(blockAt(wiring.control));
      const disk = open({ queue: 0, depth: QUEUE_SIZE, segments: QUEUE_SIZE });
      const sleepless = new SleeplessDisk(disk, image.size, () => control.ask(ThreadRequest.STOP));
      const device = new BlockThread([new BlockQueue(backEnd, queue, of, sleepless, memory)], sleepless, control);
      const go = (): void => {
        control.ask(ThreadRequest.RUN);
        device.run();
        control.drainWake();
      };
      loop
        .watch(queue.doorbell, () => {
          queue.drainDoorbell();
          go();
        })
        .set(EpollEvent.IN);
      return { wake: go, pause: () => undefined, close: () => disk.close() };
    },
  });
}
