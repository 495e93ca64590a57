import { expect, test } from "bun:test";
import { Expected } from "../../../src/config/grammar/errors.ts";
import { parsePortForward, portForwardText } from "../../../src/config/grammar/port-forward.ts";

test("a forward without an address listens on loopback only", () => {
  expect(parsePortForward("tcp:8080:80")).toEqual({
    protocol: "tcp",
    address: "127.0.0.1",
    hostPort: 8080,
    guestPort: 80,
  });
});

test.each([
  ["udp:192.0.2.1:5353:53", "udp:192.0.2.1:5353:53"],
  ["tcp:0:0:0:0:0:0:0:1:1:65535", "tcp:::1:1:65535"],
  ["tcp::::8080:80", "tcp::::8080:80"],
  ['"tcp:1:2"', "tcp:127.0.0.1:1:2"],
])("%s is %s", (text, canonical) => {
  expect(portForwardText(parsePortForward(text))).toBe(canonical);
  expect(portForwardText(parsePortForward(canonical))).toBe(canonical);
});

test.each([
  "",
  "tcp",
  "tcp:80",
  "sctp:1:1",
  "TCP:1:1",
  "tcp:0:1",
  "tcp:1:0",
  "tcp:65536:1",
  "tcp:-1:1",
  "tcp:1:",
  "tcp:host:1:1",
  "tcp:1.2.3:1:1",
  "tcp:[::1]:1:1",
  "tcp:1:1:",
  "tcp:1/2:1",
])("%p is refused", (text) => {
  expect(() => parsePortForward(text)).toThrow(Expected);
});
