import type { OutputWiring } from "../../chardev/wiring.ts";
import { type VirtioDevice, VirtioType } from "../transport/device.ts";
import type { VirtioPciWiring } from "../transport/wiring.ts";

const QUEUE_SIZE = 256;
/** VIRTIO 1.3, 5.3.3. */
export const CONSOLE_FEATURE_SIZE = 0;
/** struct virtio_console_config (5.3.4): cols u16, rows u16, max_nr_ports u32, emerg_wr u32. */
const CONFIG_BYTES = 12;
const MAX_PORTS_OFFSET = 4;

/** Queue numbers (5.3.2). */
export const CONSOLE_RECEIVE = 0;
export const CONSOLE_TRANSMIT = 1;

/** The word of the configuration that holds the size, for `VirtioPciFunction.changeConfig`. */
export const CONSOLE_SIZE_WORD = 0;

/** A terminal's size in characters; 0 by 0 when there is none. */
export interface ConsoleSize {
  readonly columns: number;
  readonly rows: number;
}

/** A console device as plain data. */
export interface ConsoleWiring {
  readonly transport: VirtioPciWiring;
  /** At power-on. */
  readonly size: ConsoleSize;
  /** Where output goes; nowhere when undefined. */
  readonly output: OutputWiring | undefined;
  /** Whether input from the same end is for this device. */
  readonly takesInput: boolean;
}

/** The console device (5.3): one port, its size in characters. */
export function consoleDevice(size: ConsoleSize): VirtioDevice {
  const config = new Uint8Array(CONFIG_BYTES);
  const view = new DataView(config.buffer);
  view.setUint32(4 * CONSOLE_SIZE_WORD, consoleSizeWord(size), true);
  view.setUint32(MAX_PORTS_OFFSET, 1, true);
  return {
    type: VirtioType.CONSOLE,
    queueSizes: [QUEUE_SIZE, QUEUE_SIZE],
    minQueues: 2,
    features: [CONSOLE_FEATURE_SIZE],
    config,
  };
}

/** The configuration word of a size. */
export const consoleSizeWord = ({ columns, rows }: ConsoleSize): number =>
  ((columns & 0xffff) | ((rows & 0xffff) << 16)) >>> 0;
