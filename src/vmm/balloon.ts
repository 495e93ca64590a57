import type { VmConfig } from "../config/schema/vm.ts";
import {
  ACTUAL_WORD,
  BALLOON_PAGE,
  NUM_PAGES_WORD,
  STATISTICS_QUEUE,
  STATISTICS_WORD,
  StatisticsWish,
} from "../devices/virtio/balloon/device.ts";
import type { VirtioPciFunction } from "../devices/virtio/transport/virtio-pci.ts";
import { balloonId, balloonPages } from "./devices/balloon.ts";
import type { Machine } from "./machine.ts";

/** A balloon that cannot have the size that is asked for. */
export class BalloonError extends Error {
  override readonly name = "BalloonError";
}

/** RAM that the guest has, in bytes: all there is, less what it says that it has given. */
export function guestRamBytes({ devices, wiring }: Machine, { balloon }: VmConfig): number {
  const device = balloon && devices.pci.virtio(balloonId(balloon));
  return Math.max(0, ramBytes(wiring) - (device?.configWord(ACTUAL_WORD) ?? 0) * BALLOON_PAGE);
}

/**
 * Asks the guest to give so much memory, or to take back what is more than that.
 * @returns the configuration that says so
 * @throws BalloonError
 */
export function resizeBalloon({ devices, wiring }: Machine, config: VmConfig, bytes: number): VmConfig {
  const { balloon } = config;
  const device: VirtioPciFunction | undefined = balloon && devices.pci.virtio(balloonId(balloon));
  if (balloon === undefined || device === undefined)
    throw new BalloonError("the VM has no balloon: configure one with --balloon before it boots");
  const ram = ramBytes(wiring);
  if (bytes >= ram)
    throw new BalloonError(`a balloon of ${bytes} bytes is not below the guest's RAM of ${ram} bytes: ask for less`);
  device.changeConfig(NUM_PAGES_WORD, balloonPages(bytes));
  return { ...config, balloon: { ...balloon, size: bytes } };
}

/** How long whoever wants statistics waits for a guest that may be busy, paused or without a driver. */
const STATISTICS_PATIENCE_MS = 200;

/** The statistics of a guest's memory: told when they are asked for, so that nothing is done while nobody wants them. */
export class BalloonStatistics {
  #told: () => void = () => undefined;

  /** Has the guest tell new statistics. Settles when the balloon's counters have them, or when it takes the guest too long. */
  async refresh({ devices }: Machine, { balloon }: VmConfig): Promise<void> {
    if (balloon?.statistics !== true) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#told = resolve;
    const timer = setTimeout(resolve, STATISTICS_PATIENCE_MS);
    devices.pci.virtio(balloonId(balloon))?.tell(STATISTICS_WORD, StatisticsWish.WANTED, STATISTICS_QUEUE);
    await promise;
    clearTimeout(timer);
  }

  /** The guest has told them. */
  readonly told = (): void => this.#told();
}

const ramBytes = ({ ram }: Machine["wiring"]): number => ram.reduce((sum, { size }) => sum + size, 0);
