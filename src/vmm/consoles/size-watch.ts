import { libc } from "../../host/libc.ts";
import { ignoreSignal, Signal } from "../../host/thread.ts";
import { takeControllingTerminal } from "../../host/tty.ts";
import { logger } from "../../threads/log.ts";
import { PROGRAM, SELF } from "../own-program.ts";

const log = logger("console");

/** The name under which the executable runs to watch the size of a pseudo-terminal. */
export const SIZE_WATCH_NAME = "cloud-hypervisor-size-watch";

const STDOUT = 1;
/** Where the watcher finds our end of the pseudo-terminal. */
const MASTER_FD = 3;

/**
 * Watches the size of a pseudo-terminal. The kernel tells of a new size only by a signal to the foreground processes of the
 * terminal's session, so a small process of our own is that session. It does not have the terminal open, so that our end
 * still learns when the last program has closed it; and it ends with our end.
 * @param onResize told after each change
 * @returns ends the watch
 */
export function watchSize(masterFd: number, onResize: () => void): () => void {
  try {
    const watcher = Bun.spawn([SELF, ...PROGRAM], {
      argv0: SIZE_WATCH_NAME,
      stdio: ["pipe", "pipe", "ignore", masterFd],
      // A session of its own, which takes the terminal.
      detached: true,
    });
    watcher.unref();
    tellOf(watcher.stdout, onResize).catch((error: unknown) => log.debug(`the size watch ends: ${error}`));
    return () => watcher.kill("SIGKILL");
  } catch (error) {
    log.warn(`nobody tells of new sizes of the pseudo-terminal: ${error}`);
    return () => undefined;
  }
}

async function tellOf(sizes: ReadableStream<Uint8Array>, onResize: () => void): Promise<void> {
  for await (const _ of sizes) onResize();
}

/** The watcher's life: a byte on stdout for each new size, and one when it begins, until its owner is gone. */
export async function watchTerminalSize(): Promise<void> {
  try {
    for (const signal of [Signal.INT, Signal.QUIT, Signal.TERM, Signal.TSTP, Signal.TTIN, Signal.TTOU])
      ignoreSignal(signal);
    const tell = (): void => void process.stdout.write("\n");
    process.on("SIGWINCH", tell);
    takeControllingTerminal(MASTER_FD);
    libc.close(MASTER_FD);
    tell();
    await Bun.stdin.text();
  } finally {
    libc._exit(STDOUT);
  }
}
