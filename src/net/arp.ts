import { IPV4_BYTES } from "./ip-address.ts";
import { MAC_BYTES } from "./tap-abi.ts";

/** The shortest Ethernet frame, without its checksum. */
const FRAME_BYTES = 60;
const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_RARP = 0x8035;
const HARDWARE_ETHERNET = 1;
const PROTOCOL_IPV4 = 0x0800;
/** RFC 826. */
const REQUEST = 1;
/** "Request reverse" (RFC 903). */
const REQUEST_REVERSE = 3;

/** Where the fields lie behind the Ethernet header, 14 bytes (RFC 826). */
const HARDWARE = 14;
const PROTOCOL = 16;
const HARDWARE_LENGTH = 18;
const PROTOCOL_LENGTH = 19;
const OPERATION = 20;
const SENDER_MAC = 22;
const TARGET_MAC = 32;
const TARGET_IP = 38;

/** A link-local address (RFC 3927) that nobody has to have. */
const SOME_ADDRESS = [169, 254, 1, 0] as const;

function broadcast(mac: Uint8Array, etherType: number, operation: number): Uint8Array {
  const frame = new Uint8Array(FRAME_BYTES);
  const view = new DataView(frame.buffer);
  frame.fill(0xff, 0, MAC_BYTES);
  frame.set(mac, MAC_BYTES);
  view.setUint16(2 * MAC_BYTES, etherType);
  view.setUint16(HARDWARE, HARDWARE_ETHERNET);
  view.setUint16(PROTOCOL, PROTOCOL_IPV4);
  view.setUint8(HARDWARE_LENGTH, MAC_BYTES);
  view.setUint8(PROTOCOL_LENGTH, IPV4_BYTES);
  view.setUint16(OPERATION, operation);
  frame.set(mac, SENDER_MAC);
  return frame;
}

/**
 * A broadcast that shows switches where a MAC address is now: a reverse ARP request by it for itself, with no IP addresses
 * (RFC 903).
 */
export function rarpFrame(mac: Uint8Array): Uint8Array {
  const frame = broadcast(mac, ETHERTYPE_RARP, REQUEST_REVERSE);
  frame.set(mac, TARGET_MAC);
  return frame;
}

/** A question for an address by somebody who has none yet (RFC 5227, 2.1.1): a router that answers for all does so. */
export function arpProbe(mac: Uint8Array): Uint8Array {
  const frame = broadcast(mac, ETHERTYPE_ARP, REQUEST);
  frame.set(SOME_ADDRESS, TARGET_IP);
  return frame;
}
