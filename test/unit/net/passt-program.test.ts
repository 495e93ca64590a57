import { expect, test } from "bun:test";
import { arePasstArguments, passtArguments } from "../../../src/net/passt-program.ts";

const MAC = new Uint8Array(6);

test("what passt is started with may be started", () => {
  const args = passtArguments({
    mac: MAC,
    mtu: 65_520,
    forwards: [
      { protocol: "tcp", address: "127.0.0.1", hostPort: 8080, guestPort: 80 },
      { protocol: "udp", address: "2001:db8::1", hostPort: 53, guestPort: 65_535 },
    ],
  });
  const forwards = ["--tcp-ports", "127.0.0.1/8080:80", "--udp-ports", "2001:db8::1/53:65535"];
  expect(args).toEqual(["--mtu", "65520", ...forwards]);
  expect(arePasstArguments(args)).toBeTrue();
  expect(arePasstArguments([])).toBeTrue();
});

test.each([
  [["--pid", "/tmp/file"]],
  [["--mtu"]],
  [["--mtu", "1500", "--pcap"]],
  [["--mtu", "--pcap"]],
  [["--mtu", "1500\n"]],
  [["--mtu=1500", "1500"]],
  [["--tcp-ports", "all"]],
  [["--tcp-ports", "127.0.0.1%eth0/80:80"]],
  [["--tcp-ports", "127.0.0.1/80:80,~1"]],
  [["constructor", "1500"]],
  [["", ""]],
])("%j may not", (args) => {
  expect(arePasstArguments(args)).toBeFalse();
});
