import type { IoClient } from "../../../src/devices/io-loop.ts";

/** Several that one thread serves, as one. */
export function together(clients: readonly IoClient[]): IoClient {
  const each = (act: (client: IoClient) => void) => (): void => {
    for (const client of clients) act(client);
  };
  return {
    wake: each((client) => client.wake()),
    pause: each((client) => client.pause()),
    close: each((client) => client.close?.()),
  };
}
