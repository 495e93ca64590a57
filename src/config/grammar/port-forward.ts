import { parseIp } from "./addresses.ts";
import { Expected } from "./errors.ts";
import { parseInteger, U16 } from "./integers.ts";
import { unquote } from "./text.ts";

/** A port of the host whose traffic goes to a port of the guest. */
export interface PortForward {
  readonly protocol: "tcp" | "udp";
  /** Where the host listens: an IPv4 or IPv6 address in canonical form. */
  readonly address: string;
  readonly hostPort: number;
  readonly guestPort: number;
}

/** Only programs of the host itself can use a forward whose address is not told. */
const LOOPBACK = "127.0.0.1";

function parsePort(text: string): number {
  const port = parseInteger(text, U16);
  if (port === 0) throw new Expected("a port from 1 to 65535");
  return port;
}

/**
 * `tcp:8080:80` or, with the address to listen at, `udp:192.0.2.1:8080:80`; an IPv6 address stands there without brackets.
 * Quotes allowed.
 * @throws Expected
 */
export function parsePortForward(text: string): PortForward {
  const [protocol, ...rest] = unquote(text).split(":");
  const guestPort = rest.pop();
  const hostPort = rest.pop();
  if ((protocol !== "tcp" && protocol !== "udp") || hostPort === undefined || guestPort === undefined)
    throw new Expected("a forward such as tcp:8080:80 or udp:192.0.2.1:5353:53");
  return {
    protocol,
    address: rest.length === 0 ? LOOPBACK : parseIp(rest.join(":")),
    hostPort: parsePort(hostPort),
    guestPort: parsePort(guestPort),
  };
}

/** The text that `parsePortForward` reads as this forward, the same for all that are equal. */
export function portForwardText({ protocol, address, hostPort, guestPort }: PortForward): string {
  return [protocol, address, hostPort, guestPort].join(":");
}
