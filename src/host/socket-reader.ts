import { libc } from "./libc.ts";

/** The declaration of Bun.connect leaves this way out, and only has its options. */
const connect = Bun.connect as unknown as (options: Bun.FdSocketOptions) => Promise<Bun.Socket>;

export interface SocketListener {
  /** Given what has come, valid during the call. */
  readonly onBytes: (bytes: Uint8Array) => void;
  /** Told when the other side has ended, but not after `stop`. */
  readonly onEnd?: () => void;
}

/**
 * Has the event loop read a stream socket, which does not keep the process alive.
 * @param fd taken over: closed at the end of the stream, or by `stop`
 * @returns stop: no listener is called any more, and the other side sees the end
 */
export function readSocket(fd: number, { onBytes, onEnd }: SocketListener): () => void {
  let stopped = false;
  let stop = (): void => {
    stopped = true;
  };
  const ended = (): void => {
    if (stopped) return;
    stopped = true;
    onEnd?.();
  };
  const reader = connect({
    fd,
    socket: {
      open: (socket) => {
        socket.unref();
        if (stopped) socket.terminate();
        else
          stop = () => {
            stopped = true;
            socket.terminate();
          };
      },
      data: (_socket, bytes) => {
        if (!stopped) onBytes(bytes);
      },
      end: (socket) => socket.terminate(),
      close: ended,
      error: ended,
    },
  });
  reader.catch(() => {
    libc.close(fd);
    ended();
  });
  return () => stop();
}
