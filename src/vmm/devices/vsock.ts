import type { VsockConfig } from "../../config/schema/virtio-devices.ts";
import { vsockDevice } from "../../devices/virtio/vsock/device.ts";
import { libc } from "../../host/libc.ts";
import { cString } from "../../host/scratch.ts";
import { listenAt, MAX_SOCKET_PATH_BYTES } from "../../host/unix-socket.ts";
import type { PciBuilder } from "./builder.ts";

/** Clients of the host that may wait to be accepted: as many as there can be connections. */
const BACKLOG = 1024;

/** The socket of a socket device cannot be had. */
export class VsockSocketError extends Error {
  override readonly name = "VsockSocketError";
}

/** Places the socket device, with a socket at its path for as long as the VM lives. @throws VsockSocketError */
export function placeVsock(builder: PciBuilder, config: VsockConfig): void {
  const { cid, socket: path } = config;
  const { descriptors, owner } = builder;
  const listenFd = descriptors.own(listen(path));
  owner.defer(() => void libc.unlink(cString(path)));
  const transport = builder.transport(builder.id(config.id, "_vsock"), vsockDevice(cid));
  builder.wiring = { kind: "vsock", slot: builder.slot(config), device: { transport, cid, listenFd, path } };
}

/** @throws VsockSocketError */
function listen(path: string): number {
  const length = Buffer.byteLength(path);
  if (length === 0 || length > MAX_SOCKET_PATH_BYTES)
    throw new VsockSocketError(
      `the path of the socket of --vsock has ${length} bytes, 1 to ${MAX_SOCKET_PATH_BYTES} are possible`,
    );
  try {
    return listenAt(path, BACKLOG);
  } catch (cause) {
    throw new VsockSocketError(
      `cannot listen at '${path}': give --vsock a socket in a folder that exists, where this user may write and nothing is`,
      { cause },
    );
  }
}
