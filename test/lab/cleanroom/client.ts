import { join } from "node:path";
import { generate } from "openapi-typescript-codegen";
import reference from "./reference-openapi.json";

/** An operation of a generated client. Its name follows from the document; what it takes and gives is JSON. */
type Operation = (options?: { readonly requestBody: unknown }) => Promise<unknown>;

/** A generated client. Until it is disposed, what the process fetches goes to its socket. */
export interface CleanRoomClient extends Disposable {
  /** Asks for the operation that the generator gave that name. @throws where there is none, and what the operation throws */
  readonly call: (operation: string, requestBody?: unknown) => Promise<unknown>;
}

/**
 * A client that knows nothing of ours: made by a generator from the published OpenAPI document of Cloud Hypervisor, of which
 * reference-openapi.json has paths, operations and schemas.
 * @param folder where its source goes
 * @param socket of the API
 */
export async function cleanRoomClient(folder: string, socket: string): Promise<CleanRoomClient> {
  const output = join(folder, "client");
  await generate({ input: reference, output, httpClient: "fetch", useOptions: true });
  const { DefaultService } = await import(join(output, "index.ts"));
  // Generated clients speak to a host by its name; ours is behind a socket.
  const overNetwork = globalThis.fetch;
  const overSocket = (url: string, options: RequestInit): Promise<Response> =>
    overNetwork(url, { ...options, unix: socket });
  globalThis.fetch = Object.assign(overSocket, { preconnect: overNetwork.preconnect }) as typeof fetch;
  return {
    call: async (name, requestBody) => {
      const operation: Operation | undefined = DefaultService[name];
      if (operation === undefined) throw new Error(`the generated client has no operation ${name}`);
      return operation.call(DefaultService, requestBody === undefined ? undefined : { requestBody });
    },
    [Symbol.dispose]: () => {
      globalThis.fetch = overNetwork;
    },
  };
}
