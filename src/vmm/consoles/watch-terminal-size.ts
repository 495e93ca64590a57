import { libc } from "../../host/libc.ts";
import { ignoreSignal, Signal } from "../../host/thread.ts";
import { takeControllingTerminal } from "../../host/tty.ts";

/** Where the watcher finds our end of the pseudo-terminal, behind its standard streams. */
const MASTER_FD = 3;

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
    libc._exit(0);
  }
}
