import { describe, expect, test } from "bun:test";
import { rarpFrame } from "../../../src/net/arp.ts";
import { ipBytes, prefixLength } from "../../../src/net/ip-address.ts";
import { macBytes, macText, randomMac } from "../../../src/net/mac-address.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("IP addresses", () => {
  test.each([
    ["192.168.249.1", "c0a8f901"],
    ["0.0.0.0", "00000000"],
    ["::", "00".repeat(16)],
    ["::1", `${"00".repeat(15)}01`],
    ["fe80::1:2", "fe80000000000000000000000001" + "0002"],
    ["1:2:3:4:5:6:7:8", "00010002000300040005000600070008"],
    ["1::", `0001${"00".repeat(14)}`],
    ["::ffff:10.0.0.1", `${"00".repeat(10)}ffff0a000001`],
  ])("%s", (text, bytes) => {
    expect(hex(ipBytes(text))).toBe(bytes);
  });

  test.each([
    ["255.255.255.0", 24],
    ["255.255.255.255", 32],
    ["128.0.0.0", 1],
    ["0.0.0.0", 0],
    ["ffff:ffff:ffff:ffff::", 64],
    ["255.0.255.0", undefined],
    ["0.0.0.1", undefined],
    ["::1", undefined],
  ])("prefix of %s", (mask, length) => {
    expect(prefixLength(ipBytes(mask))).toBe(length);
  });
});

describe("MAC addresses", () => {
  test("text and bytes", () => {
    expect(hex(macBytes("2e:89:a8:e4:92:4d"))).toBe("2e89a8e4924d");
    expect(macText(macBytes("2e:09:a8:e4:92:00"))).toBe("2e:09:a8:e4:92:00");
  });

  test("generated ones are local, unicast, and not the same", () => {
    const [a, b] = [randomMac(), randomMac()];
    expect(a).toHaveLength(6);
    expect([a[0], b[0]]).toEqual([0x2e, 0x2e]);
    expect(hex(a)).not.toBe(hex(b));
  });
});

test("a RARP announcement is a broadcast of 60 bytes from the guest's address, of itself", () => {
  const mac = macBytes("2e:89:a8:e4:92:4d");
  const head = `ffffffffffff${hex(mac)}80350001080006040003`;
  const body = `${hex(mac)}00000000${hex(mac)}00000000`;
  expect(hex(rarpFrame(mac))).toBe((head + body).padEnd(120, "0"));
});
