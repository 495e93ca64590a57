import { makeTerminalRaw, setTerminalSettings, terminalSettings, terminalSize } from "../../../host/tty.ts";
import { print } from "../../print.ts";
import { type Line, lineText } from "./line.ts";

const STDIN = 0;
const STDOUT = 1;
/** Private modes of xterm (ctlseqs): 1049 is the alternate screen, 25 the cursor, 7 wraps long lines, 2026 shows a frame at once. */
const ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const BEGIN_FRAME = "\x1b[?2026h\x1b[H";
const END_FRAME = "\x1b[J\x1b[?2026l";
/** Erases what is left of a line of the frame before. */
const END_LINE = "\x1b[K";
const DEFAULT_SIZE = { columns: 80, rows: 24 };

/** The whole terminal, until it is disposed of: then all is as it was. */
export class Screen implements Disposable {
  readonly #colour: boolean;
  /** Undefined where standard input is no terminal. */
  readonly #settings: Uint8Array | undefined;

  constructor(colour: boolean) {
    this.#colour = colour;
    this.#settings = terminalSize(STDIN) === undefined ? undefined : terminalSettings(STDIN);
    if (this.#settings !== undefined) makeTerminalRaw(STDIN);
    print("stdout", ENTER);
  }

  /** In characters, now. */
  get size(): { readonly columns: number; readonly rows: number } {
    const size = terminalSize(STDOUT);
    // A serial line does not know its size.
    return size === undefined || size.columns === 0 || size.rows === 0 ? DEFAULT_SIZE : size;
  }

  /** @returns false when the terminal is gone */
  draw(lines: readonly Line[]): boolean {
    const text = lines.map((line) => `${lineText(line, this.#colour)}${END_LINE}`).join("\r\n");
    return print("stdout", BEGIN_FRAME + text + END_FRAME);
  }

  [Symbol.dispose](): void {
    const there = print("stdout", LEAVE);
    if (there && this.#settings !== undefined) setTerminalSettings(STDIN, this.#settings);
  }
}
