import { readdirSync, readFileSync } from "node:fs";
import { ApiConnectionError } from "../../../api/client/api-client.ts";
import { VmmApiError, VmmClient } from "../../../api/client/vmm-client.ts";
import { METRICS_PATH } from "../../../api/metrics/endpoint.ts";
import { identityOf, usesOf } from "./answers.ts";
import { parseMetrics } from "./metrics-text.ts";
import { type Sample, sampleOf } from "./sample.ts";

/** Looks at a VMM from outside. */
export class SampleSource {
  readonly #socket: string;
  readonly #client: VmmClient;

  /** @param socket path of the API's socket */
  constructor(socket: string) {
    this.#socket = socket;
    this.#client = new VmmClient(socket);
  }

  /** What the VMM and its VM have counted. @throws ApiConnectionError when it does not tell, or not any more */
  async sample(): Promise<Sample> {
    try {
      const [ping, uses, text] = await Promise.all([this.#client.ping(), this.#uses(), this.#metrics()]);
      const { pid, version } = identityOf(ping);
      const context = { atMs: performance.now(), nowSeconds: Date.now() / 1000, version, pid, uses };
      return sampleOf(parseMetrics(text), { ...context, waits: threadWaits(pid) });
    } catch (cause) {
      if (cause instanceof ApiConnectionError) throw cause;
      throw new ApiConnectionError(`the VMM at ${this.#socket} does not answer`, { cause });
    }
  }

  async #metrics(): Promise<string> {
    const response = await fetch(`http://localhost${METRICS_PATH}`, { unix: this.#socket });
    if (!response.ok) throw new ApiConnectionError(`the VMM at ${this.#socket} does not tell its metrics`);
    return response.text();
  }

  /** What the devices use of the host, by id; nothing without a VM. */
  async #uses(): Promise<ReadonlyMap<string, string>> {
    try {
      return usesOf(await this.#client.info());
    } catch (error) {
      if (error instanceof VmmApiError) return new Map();
      throw error;
    }
  }
}

/**
 * Seconds that the threads of a process were ready to run and had no processor, by name: proc(5), schedstat.
 * Empty for a process that cannot be looked at: another user's, or in another PID namespace.
 */
function threadWaits(pid: number): ReadonlyMap<string, number> {
  const waits = new Map<string, number>();
  try {
    for (const tid of readdirSync(`/proc/${pid}/task`)) {
      const folder = `/proc/${pid}/task/${tid}`;
      const [, waitedNs = 0] = readFileSync(`${folder}/schedstat`, "latin1").split(" ").map(Number);
      const name = readFileSync(`${folder}/comm`, "latin1").trimEnd();
      waits.set(name, (waits.get(name) ?? 0) + waitedNs / 1e9);
    }
  } catch (error) {
    if (error instanceof Error && "code" in error) return new Map();
    throw error;
  }
  return waits;
}
