import { ApiClient } from "../../src/api/client/api-client.ts";
import type { EndpointName } from "../../src/api/rest/endpoints.ts";

/** A client of a running monitor. */
export class Api implements Disposable {
  readonly client: ApiClient;

  /** @param socket what `--api-socket` named @throws ApiConnectionError */
  constructor(socket: string) {
    this.client = new ApiClient(socket);
  }

  ask(method: "GET" | "PUT", endpoint: EndpointName, body?: unknown) {
    return this.client.request({ method, endpoint, ...(body !== undefined && { body: JSON.stringify(body) }) });
  }

  /** An action that must succeed. */
  put(endpoint: EndpointName, body?: unknown): void {
    const { status, body: text } = this.ask("PUT", endpoint, body);
    if (status !== 204 && status !== 200) throw new Error(`${endpoint}: ${status} ${text}`);
  }

  /** The answer of an action that must have one. */
  json(method: "GET" | "PUT", endpoint: EndpointName, body?: unknown) {
    const { status, body: text } = this.ask(method, endpoint, body);
    if (status !== 200) throw new Error(`${endpoint}: ${status} ${text}`);
    return JSON.parse(text);
  }

  get info() {
    return this.json("GET", "vm.info");
  }

  [Symbol.dispose](): void {
    this.client.close();
  }
}

/** Memory of a process that is there, in MiB. */
export async function residentMib(pid: number): Promise<number> {
  const status = await Bun.file(`/proc/${pid}/status`).text();
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
}
