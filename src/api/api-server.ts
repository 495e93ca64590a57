import type { Endpoint } from "../config/vmm-options.ts";
import type { SeccompMode } from "../host/seccomp/install.ts";
import { shortenTimeSlice } from "../host/time-slice.ts";
import { FdWatcher } from "../threads/fd-watcher.ts";
import { logger } from "../threads/log.ts";
import type { VmmControl } from "../vmm/control/vmm-control.ts";
import { WORKERS } from "../workers.ts";
import { openApiSocket } from "./http/listen.ts";
import { HttpServer } from "./http/server.ts";
import type { Identity } from "./rest/endpoints.ts";
import { makeRouter } from "./rest/router.ts";

const log = logger("api");

/** The API on its socket. */
export interface ApiServer {
  /**
   * Gives clients their last answers and ends.
   * @param unlink remove the socket's file, as on a successful exit
   */
  finish(unlink: boolean): Promise<void>;
}

/**
 * Serves the REST API. Clients can connect when this returns.
 * @param seccomp for the thread that waits for clients; no filter when undefined
 * @throws ApiSocketError
 */
export function startApi(
  socket: Endpoint,
  control: VmmControl,
  identity: Identity,
  seccomp: SeccompMode | undefined,
): ApiServer {
  const listener = openApiSocket(socket);
  // Clients are answered soon even while every processor has a vCPU to run.
  shortenTimeSlice();
  const watcher = new FdWatcher("http-server", WORKERS.fdWatcher, seccomp, (error) =>
    log.error(`the API is not served any more: ${error.message}`),
  );
  const server = new HttpServer(listener, watcher, makeRouter(control, identity));
  return {
    finish: async (unlink) => {
      await server.finish(unlink);
      watcher.close();
    },
  };
}
