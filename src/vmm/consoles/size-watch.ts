import { launcher } from "../../host/launcher/launcher.ts";
import { libc } from "../../host/libc.ts";
import { SIZE_WATCH_NAME } from "../../host/own-program.ts";
import { readSocket } from "../../host/socket-reader.ts";
import { socketPair } from "../../host/unix-socket.ts";
import { logger } from "../../threads/log.ts";

const log = logger("console");

/**
 * Watches the size of a pseudo-terminal. The kernel tells of a new size only by a signal to the foreground processes of the
 * terminal's session, so a small process of our own is that session. It does not have the terminal open, so that our end
 * still learns when the last program has closed it; and it ends with our end.
 * @param onResize told after each change
 * @returns ends the watch
 */
export function watchSize(masterFd: number, onResize: () => void): () => void {
  const warn = (why: string): void => log.warn(`nobody tells of new sizes of the pseudo-terminal: ${why}`);
  const starter = launcher();
  if (starter === undefined) {
    warn("the VMM was started when no console was to be one: restart it with one, or without a VM");
    return () => undefined;
  }
  const [fd, theirFd] = socketPair();
  try {
    starter.launchUnattended({ program: SIZE_WATCH_NAME, args: [], streams: [theirFd, theirFd, undefined, masterFd] });
  } catch (error) {
    libc.close(fd);
    warn(String(error));
    return () => undefined;
  } finally {
    libc.close(theirFd);
  }
  return readSocket(fd, { onBytes: onResize, onEnd: () => warn("the process that does so has ended") });
}
