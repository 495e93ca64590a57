import { describe, expect, test } from "bun:test";
import {
  type Answer,
  decodeAnswer,
  decodeRequest,
  encodeAnswer,
  encodeNotice,
  encodeRequest,
  exitStatus,
  MAX_MESSAGE_BYTES,
  MAX_STREAMS,
  NoticeReader,
  ProtocolError,
  type Request,
} from "../../../../src/host/launcher/protocol.ts";
import { Random } from "../../random.ts";

const LAUNCH = { kind: "launch", id: 7, program: "passt", args: ["--mtu", "1500"], streams: [-1, 0, 0, 1] } as const;
const GUARD: Request = { kind: "guard", original: new Uint8Array([1, 2, 3]), raw: new Uint8Array([4, 5, 6]) };
const STARTED = { kind: "started", id: 7, pid: 4711 } as const;
const FAILED = { kind: "failed", id: 7, errno: 2, why: "start passt: ENOENT" } as const;

const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

test("requests arrive as they were sent", () => {
  expect(decodeRequest(encodeRequest(LAUNCH), 2)).toEqual(LAUNCH);
  expect(decodeRequest(encodeRequest(GUARD), 1)).toEqual(GUARD);
});

test("answers arrive as they were sent", () => {
  expect(decodeAnswer(encodeAnswer(STARTED), 1)).toEqual(STARTED);
  expect(decodeAnswer(encodeAnswer(FAILED), 0)).toEqual(FAILED);
});

test("a message is as long as it may be, and not longer", () => {
  const frame = encodeRequest({ ...LAUNCH, args: [""] }).length;
  const longest = { ...LAUNCH, args: ["x".repeat(MAX_MESSAGE_BYTES - frame)] };
  expect(encodeRequest(longest)).toHaveLength(MAX_MESSAGE_BYTES);
  expect(decodeRequest(encodeRequest(longest), 2)).toEqual(longest);
  expect(() => encodeRequest({ ...LAUNCH, args: [`${longest.args[0]}x`] })).toThrow(ProtocolError);
});

describe("a malformed message is refused", () => {
  const settings = "00".repeat(256);
  const requests: readonly (readonly [string, Uint8Array, number])[] = [
    ["empty", new Uint8Array(), 0],
    ["no UTF-8", new Uint8Array([0x22, 0xff, 0x22]), 0],
    ["cut", encodeRequest(LAUNCH).subarray(0, -1), 2],
    ["null", bytesOf(null), 0],
    ["a list", bytesOf([LAUNCH]), 0],
    ["no kind", bytesOf({ ...LAUNCH, kind: undefined }), 2],
    ["an answer", encodeAnswer(STARTED), 1],
    ["a fraction as id", bytesOf({ ...LAUNCH, id: 1.5 }), 2],
    ["a negative id", bytesOf({ ...LAUNCH, id: -1 }), 2],
    ["an id of 33 bits", bytesOf({ ...LAUNCH, id: 2 ** 32 }), 2],
    ["a program that is no text", bytesOf({ ...LAUNCH, program: 1 }), 2],
    ["a program with NUL", bytesOf({ ...LAUNCH, program: "passt\0" }), 2],
    ["arguments that are no list", bytesOf({ ...LAUNCH, args: "--mtu" }), 2],
    ["an argument that is no text", bytesOf({ ...LAUNCH, args: ["--mtu", 1500] }), 2],
    ["an argument with NUL", bytesOf({ ...LAUNCH, args: ["a\0b"] }), 2],
    ["a stream of no descriptor", encodeRequest(LAUNCH), 1],
    ["a stream below nowhere", bytesOf({ ...LAUNCH, streams: [-2, -1, -1] }), 2],
    ["streams that are no list", bytesOf({ ...LAUNCH, streams: { length: 3 } }), 2],
    ["too few streams", bytesOf({ ...LAUNCH, streams: [0, 1] }), 2],
    ["too many streams", bytesOf({ ...LAUNCH, streams: new Array(MAX_STREAMS + 1).fill(0) }), 2],
    ["a terminal without a descriptor", encodeRequest(GUARD), 0],
    ["a terminal with two", encodeRequest(GUARD), 2],
    ["settings that are no numbers", bytesOf({ kind: "guard", original: "0g", raw: "00" }), 1],
    ["settings of half a byte", bytesOf({ kind: "guard", original: "000", raw: "000" }), 1],
    ["no settings", bytesOf({ kind: "guard", original: "", raw: "" }), 1],
    ["settings of two sizes", bytesOf({ kind: "guard", original: "00", raw: "0000" }), 1],
    ["too many settings", bytesOf({ kind: "guard", original: `${settings}00`, raw: `${settings}00` }), 1],
  ];
  test.each(requests)("request: %s", (_name, bytes, fds) => {
    expect(() => decodeRequest(bytes, fds)).toThrow(ProtocolError);
  });

  const answers: readonly (readonly [string, Uint8Array, number])[] = [
    ["no kind", bytesOf({ id: 7 }), 0],
    ["no id", bytesOf({ ...FAILED, id: undefined }), 0],
    ["started without a pidfd", encodeAnswer(STARTED), 0],
    ["started with two", encodeAnswer(STARTED), 2],
    ["process 0", bytesOf({ ...STARTED, pid: 0 }), 1],
    ["failed with a descriptor", encodeAnswer(FAILED), 1],
    ["no errno", bytesOf({ ...FAILED, errno: "ENOENT" }), 0],
  ];
  test.each(answers)("answer: %s", (_name, bytes, fds) => {
    expect(() => decodeAnswer(bytes, fds)).toThrow(ProtocolError);
  });

  test("whatever is changed of a good one, it is that or another good one", () => {
    const random = new Random(0x1a0c);
    const good = [encodeRequest(LAUNCH), encodeRequest(GUARD), encodeAnswer(STARTED), encodeAnswer(FAILED)];
    let refused = 0;
    for (let round = 0; round < 5000; round++) {
      const bytes = Uint8Array.from(good[round % good.length] ?? []);
      for (let i = 0; i <= round % 3; i++) bytes[random.below(bytes.length)] = random.below(256);
      for (const decode of [decodeRequest, decodeAnswer])
        try {
          check(decode(bytes, 2));
        } catch (error) {
          expect(error).toBeInstanceOf(ProtocolError);
          refused++;
        }
    }
    expect(refused).toBeGreaterThan(0);
  });
});

/** Everything that is used without another look is in its bounds. */
function check(message: Request | Answer): void {
  if (message.kind !== "launch") return;
  expect(message.args.every((arg) => typeof arg === "string" && !arg.includes("\0"))).toBeTrue();
  expect(message.streams.every((index) => Number.isInteger(index) && index >= -1 && index < 2)).toBeTrue();
}

test("notices are read wherever the stream is cut", () => {
  const stream = new Uint8Array([...encodeNotice(1, 0), ...encodeNotice(0xffff_ffff, 9), ...encodeNotice(3, 2 << 8)]);
  for (let cut = 0; cut <= stream.length; cut++) {
    const reader = new NoticeReader();
    expect([...reader.read(stream.subarray(0, cut)), ...reader.read(stream.subarray(cut))]).toEqual([
      { id: 1, status: { kind: "exited", code: 0 } },
      { id: 0xffff_ffff, status: { kind: "killed", signal: 9 } },
      { id: 3, status: { kind: "exited", code: 2 } },
    ]);
  }
});

test("a status of wait(2): exited, killed, killed with a core", () => {
  expect(exitStatus(255 << 8)).toEqual({ kind: "exited", code: 255 });
  expect(exitStatus(15)).toEqual({ kind: "killed", signal: 15 });
  expect(exitStatus(11 | 0x80)).toEqual({ kind: "killed", signal: 11 });
});
