import { request } from "node:http";
import type { Operations } from "./types.ts";

export type * from "./types.ts";

type Body<N extends keyof Operations> = Operations[N]["body"];
type Result<N extends keyof Operations> = Operations[N]["result"];

const BASE_PATH = "/api/v1/";
/** Endpoints that only tell. */
const GETS: { readonly [N in keyof Operations as Operations[N]["method"] extends "GET" ? N : never]: true } = {
  "vmm.ping": true,
  "vm.info": true,
  "vm.counters": true,
};

/** The VMM refused a request or failed to carry it out. */
export class VmmApiError extends Error {
  override readonly name = "VmmApiError";
  readonly endpoint: keyof Operations;
  /** Of HTTP. */
  readonly status: number;
  /** What went wrong, from the outermost description to the root cause. */
  readonly reasons: readonly string[];

  constructor(endpoint: keyof Operations, status: number, reasons: readonly string[]) {
    super(`${endpoint}: ${reasons.length > 0 ? reasons.join(": ") : `status ${status}`}`);
    this.endpoint = endpoint;
    this.status = status;
    this.reasons = reasons;
  }
}

/**
 * Steers a VMM through the socket that it was given with `--api-socket`. Works in Bun and in Node.js; nothing else is needed.
 *
 * Each method settles when the VMM has answered.
 * @throws VmmApiError when the VMM says no; Error when it cannot be reached
 */
export class VmmClient {
  readonly #socket: string;

  /** @param socket path of the API's socket */
  constructor(socket: string) {
    this.#socket = socket;
  }

  ping = () => this.call("vmm.ping");
  /** Ends the VM and the VMM. */
  shutdownVmm = () => this.call("vmm.shutdown");

  create = (config: Body<"vm.create">) => this.call("vm.create", config);
  delete = () => this.call("vm.delete");
  boot = () => this.call("vm.boot");
  shutdown = () => this.call("vm.shutdown");
  reboot = () => this.call("vm.reboot");
  pause = () => this.call("vm.pause");
  resume = () => this.call("vm.resume");
  powerButton = () => this.call("vm.power-button");
  nmi = () => this.call("vm.nmi");
  info = () => this.call("vm.info");
  counters = () => this.call("vm.counters");

  resize = (request: Body<"vm.resize">) => this.call("vm.resize", request);
  resizeDisk = (request: Body<"vm.resize-disk">) => this.call("vm.resize-disk", request);

  /** Answers where the device is when the VM is booted. */
  addDisk = (config: Body<"vm.add-disk">) => this.call("vm.add-disk", config);
  /** As `addDisk`. */
  addNet = (config: Body<"vm.add-net">) => this.call("vm.add-net", config);
  /** As `addDisk`. */
  addPmem = (config: Body<"vm.add-pmem">) => this.call("vm.add-pmem", config);
  /** As `addDisk`. */
  addVsock = (config: Body<"vm.add-vsock">) => this.call("vm.add-vsock", config);
  /** Asks the guest to give a device up. It is gone when the event monitor says so. */
  removeDevice = (id: string) => this.call("vm.remove-device", { id });

  /** Any endpoint, by its name in the API. */
  async call<N extends keyof Operations>(
    endpoint: N,
    ...[body]: Body<N> extends undefined ? [] : [body: Body<N>]
  ): Promise<Result<N>> {
    const { status, text } = await this.#exchange(endpoint, body === undefined ? undefined : JSON.stringify(body));
    if (status < 200 || status > 299) throw new VmmApiError(endpoint, status, reasonsOf(text));
    return (text === "" ? undefined : JSON.parse(text)) as Result<N>;
  }

  #exchange(endpoint: keyof Operations, body: string | undefined): Promise<{ status: number; text: string }> {
    const options = {
      socketPath: this.#socket,
      path: BASE_PATH + endpoint,
      method: endpoint in GETS ? "GET" : "PUT",
      headers:
        body === undefined ? {} : { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) },
    };
    return new Promise((resolve, reject) => {
      const outgoing = request(options, (reply) => {
        const chunks: Buffer[] = [];
        reply.on("data", (chunk: Buffer) => chunks.push(chunk));
        reply.on("end", () => resolve({ status: reply.statusCode ?? 0, text: Buffer.concat(chunks).toString("utf8") }));
        reply.on("error", reject);
      });
      outgoing.on("error", reject);
      outgoing.end(body);
    });
  }
}

/** The strings of an error's body, or all of it where it is none of the VMM's. */
function reasonsOf(text: string): readonly string[] {
  try {
    const reasons: unknown = JSON.parse(text);
    if (Array.isArray(reasons)) return reasons.map(String);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  return text === "" ? [] : [text];
}
