import type { Endpoint } from "../../config/vmm-options.ts";
import { tryLockFile } from "../../host/file-lock.ts";
import { check, libc } from "../../host/libc.ts";
import { cString } from "../../host/scratch.ts";
import { checkSocketPath, listenAtPath, SocketPathError } from "../../host/socket-path.ts";
import { isListening } from "../../host/unix-socket.ts";

/** The API socket cannot be had. The message says what the user can do. */
export class ApiSocketError extends Error {
  override readonly name = "ApiSocketError";
}

/** A socket that listens for API clients. */
export interface ApiListener {
  readonly fd: number;
  /** Stops listening. @param unlink remove the socket's file, when this process made it */
  close(unlink: boolean): void;
}

/** Connections that may wait while the VMM is busy. */
const BACKLOG = 128;
/** O_RDWR | O_CREAT | O_CLOEXEC (asm-generic/fcntl.h). */
const LOCK_FLAGS = 0o2000102;
const OWNER_ONLY = 0o600;
const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/** Whoever holds the lock owns the path; the lock's file stays, since to remove it would race with the next owner. */
function lockPath(path: string): number {
  const lockFile = `${path}.lock`;
  const fd = check(libc.open(cString(lockFile), LOCK_FLAGS, OWNER_ONLY), `open ${lockFile}`);
  try {
    if (tryLockFile(fd, "exclusive", 0)) return fd;
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  libc.close(fd);
  throw new ApiSocketError(`the API socket ${path} belongs to another process: stop that one, or choose another path`);
}

function listenAs(path: string): ApiListener {
  checkSocketPath(path);
  const lock = lockPath(path);
  try {
    const fd = listenAtPath(path, BACKLOG);
    return {
      fd,
      close: (unlink) => {
        libc.close(fd);
        if (unlink) libc.unlink(cString(path));
        libc.close(lock);
      },
    };
  } catch (error) {
    libc.close(lock);
    throw error;
  }
}

/** A socket that the parent process has made. */
function listenOn(fd: number): ApiListener {
  const flags = check(libc.fcntl(fd, F_GETFL, 0), `use fd ${fd}`);
  if (!isListening(fd))
    throw new ApiSocketError(`fd ${fd} is no listening socket: bind it and listen before the start`);
  check(libc.fcntl(fd, F_SETFL, flags | O_NONBLOCK), `make fd ${fd} non-blocking`);
  return { fd, close: () => void libc.close(fd) };
}

/**
 * Makes the API's socket: accessible to its owner alone, and under a lock that keeps other processes of ours away.
 * @throws ApiSocketError
 */
export function openApiSocket(endpoint: Endpoint): ApiListener {
  try {
    return "fd" in endpoint ? listenOn(endpoint.fd) : listenAs(endpoint.path);
  } catch (error) {
    if (error instanceof ApiSocketError) throw error;
    if (error instanceof SocketPathError) throw new ApiSocketError(error.message);
    const what =
      "fd" in endpoint
        ? `fd=${endpoint.fd}: it must be a listening socket that this process has inherited`
        : `${endpoint.path}: its folder must exist, and this user must be able to write there`;
    throw new ApiSocketError(`cannot listen for API clients at ${what}`, { cause: error });
  }
}
