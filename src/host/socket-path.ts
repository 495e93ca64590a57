import { lstatSync } from "node:fs";
import { SysError } from "./errno.ts";
import { check, libc } from "./libc.ts";
import { cString } from "./scratch.ts";
import { connectTo, listenAt, MAX_SOCKET_PATH_BYTES } from "./unix-socket.ts";

/** A path where no socket can be. The message says what the user can do. */
export class SocketPathError extends Error {
  override readonly name = "SocketPathError";
}

const ECONNREFUSED = 111;
const NOT_OWNER_ONLY = 0o177;

/** @throws SocketPathError when the path is too long for a socket, or empty */
export function checkSocketPath(path: string): void {
  const length = Buffer.byteLength(path);
  if (length === 0) throw new SocketPathError("the path of the socket is empty");
  if (length > MAX_SOCKET_PATH_BYTES)
    throw new SocketPathError(`the socket's path has ${length} bytes, at most ${MAX_SOCKET_PATH_BYTES} are possible`);
}

/**
 * A non-blocking socket that listens at a path, accessible to its owner alone. What an earlier process left there gives way: a
 * socket without a listener, or an empty file.
 * @param backlog connections that may wait to be accepted
 * @throws SocketPathError, SysError
 */
export function listenAtPath(path: string, backlog: number): number {
  checkSocketPath(path);
  clearPath(path);
  const umask = libc.umask(NOT_OWNER_ONLY);
  try {
    return listenAt(path, backlog);
  } finally {
    libc.umask(umask);
  }
}

/** Nobody listens at a socket's path any more. */
function isStale(path: string): boolean {
  try {
    libc.close(connectTo(path));
    return false;
  } catch (error) {
    if (error instanceof SysError && error.errno === ECONNREFUSED) return true;
    throw error;
  }
}

function clearPath(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (found.isSocket() ? !isStale(path) : !(found.isFile() && found.size === 0))
    throw new SocketPathError(
      found.isSocket()
        ? `another process listens at ${path}: stop that one, or choose another path`
        : `${path} exists and is no socket: remove it, or choose another path`,
    );
  if (libc.unlink(cString(path)) < 0) check(-1, `remove ${path}`);
}
