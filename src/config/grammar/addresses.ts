import { Expected } from "./errors.ts";
import { unquote } from "./text.ts";

/** Six two-digit hexadecimal groups joined by `:`, quotes allowed. The result is in lower case. @throws Expected */
export function parseMac(text: string): string {
  const unquoted = unquote(text);
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(unquoted)) throw new Expected("a MAC address such as 2e:89:a8:e4:92:4d");
  return unquoted.toLowerCase();
}

/** Four decimal octets without leading zeros, or undefined. */
function parseIpv4(text: string): readonly number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part))) return undefined;
  const octets = parts.map(Number);
  return octets.every((octet) => octet <= 255) ? octets : undefined;
}

/** 16-bit groups of colon-separated text, the last two of them possibly as a dotted quad; undefined when malformed. */
function parseGroups(text: string, quadAllowed: boolean): number[] | undefined {
  if (text === "") return [];
  const parts = text.split(":");
  const groups: number[] = [];
  for (const [index, part] of parts.entries()) {
    if (/^[0-9a-f]{1,4}$/i.test(part)) {
      groups.push(Number.parseInt(part, 16));
      continue;
    }
    const quad = quadAllowed && index === parts.length - 1 ? parseIpv4(part) : undefined;
    if (quad === undefined) return undefined;
    const [a = 0, b = 0, c = 0, d = 0] = quad;
    groups.push(a * 256 + b, c * 256 + d);
  }
  return groups;
}

/** Eight groups of an IPv6 address as RFC 4291 section 2.2 writes it, or undefined. */
function parseIpv6(text: string): readonly number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const [head = "", tail] = halves;
  const before = parseGroups(head, tail === undefined);
  const after = tail === undefined ? [] : parseGroups(tail, true);
  if (before === undefined || after === undefined) return undefined;
  const missing = 8 - before.length - after.length;
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  return [...before, ...Array<number>(missing).fill(0), ...after];
}

/** The canonical text of RFC 5952: lower case, the longest run of at least two zero groups (the first of equals) as `::`. */
function formatIpv6(groups: readonly number[]): string {
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    const [high = 0, low = 0] = groups.slice(6);
    return `::ffff:${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  let best = { start: 0, length: 1 };
  for (let start = 0; start < 8; start++) {
    let length = 0;
    while (groups[start + length] === 0) length++;
    if (length > best.length) best = { start, length };
  }
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(":");
  if (best.length === 1) return hex(groups);
  return `${hex(groups.slice(0, best.start))}::${hex(groups.slice(best.start + best.length))}`;
}

/**
 * An IPv4 or IPv6 address, quotes allowed; no zone, no brackets, no prefix length. The result is the canonical text.
 * @throws Expected
 */
export function parseIp(text: string): string {
  const unquoted = unquote(text);
  if (parseIpv4(unquoted) !== undefined) return unquoted;
  const groups = parseIpv6(unquoted);
  if (groups === undefined) throw new Expected("an IPv4 or IPv6 address such as 192.168.249.1");
  return formatIpv6(groups);
}
