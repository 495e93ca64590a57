/** An IP address in bytes, most significant first: 4 for IPv4, 16 for IPv6. */
export type IpBytes = Uint8Array;

export const IPV4_BYTES = 4;
export const IPV6_BYTES = 16;

/** The bytes of an address in canonical text, as the configuration holds it. */
export function ipBytes(text: string): IpBytes {
  if (!text.includes(":")) return Uint8Array.from(text.split("."), Number);
  const [head = "", tail] = text.split("::");
  const before = groupBytes(head);
  const after = tail === undefined ? [] : groupBytes(tail);
  const gap = new Array<number>(IPV6_BYTES - before.length - after.length).fill(0);
  return Uint8Array.from([...before, ...gap, ...after]);
}

/** How many bits of a mask are set, when they are its first ones; undefined for any other mask. */
export function prefixLength(mask: IpBytes): number | undefined {
  const bits = Array.from(mask, (byte) => byte.toString(2).padStart(8, "0")).join("");
  return /^1*0*$/.test(bits) ? bits.lastIndexOf("1") + 1 : undefined;
}

function groupBytes(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (group.includes(".")) return group.split(".").map(Number);
    const value = Number.parseInt(group, 16);
    return [value >> 8, value & 0xff];
  });
}
