import { MAC_BYTES } from "./tap-abi.ts";

/** First byte of generated addresses: locally administered, unicast. */
const GENERATED_PREFIX = 0x2e;

/** The bytes of a MAC address as text, six hexadecimal groups. */
export const macBytes = (text: string): Uint8Array =>
  Uint8Array.from(text.split(":"), (group) => Number.parseInt(group, 16));

/** The text of a MAC address. */
export const macText = (mac: Uint8Array): string =>
  Array.from(mac, (byte) => byte.toString(16).padStart(2, "0")).join(":");

/** A MAC address that nobody else is likely to have. */
export function randomMac(): Uint8Array {
  const mac = crypto.getRandomValues(new Uint8Array(MAC_BYTES));
  mac[0] = GENERATED_PREFIX;
  return mac;
}
