import { describe, expect, test } from "bun:test";
import { answerTo, RtcMessage, RtcStatus } from "../../../../../src/devices/virtio/rtc/protocol.ts";

const NOW = 1_800_000_000_123_456_789n;

function answer(type: number, requestBytes = 16, answerBytes = 16, clock = 0, now = NOW): number[] {
  return [...answerTo({ requestBytes, answerBytes, type, clock }, now)];
}

const whole = (status: number, ...body: number[]): number[] =>
  Object.assign(new Array(16).fill(0), [status], Object.fromEntries(body.map((byte, i) => [8 + i, byte])));
const head = (status: number): number[] => Object.assign(new Array(8).fill(0), [status]);

describe("answers", () => {
  test("one clock, of UTC, without cross time stamps", () => {
    expect(answer(RtcMessage.CFG, 8)).toEqual(whole(RtcStatus.OK, 1));
    expect(answer(RtcMessage.CLOCK_CAP)).toEqual(whole(RtcStatus.OK, 4));
    expect(answer(RtcMessage.CROSS_CAP)).toEqual(whole(RtcStatus.OK));
  });

  test.each([NOW, 0n, (1n << 64n) - 1n])("the time %d is told to the nanosecond", (now) => {
    const bytes = Uint8Array.from(answer(RtcMessage.READ, 16, 16, 0, now));
    expect(bytes[0]).toBe(RtcStatus.OK);
    expect(new DataView(bytes.buffer).getBigUint64(8, true)).toBe(now);
  });

  test.each([-1n, 1n << 64n])("the time %d cannot be told", (now) => {
    expect(answer(RtcMessage.READ, 16, 16, 0, now)).toEqual(whole(RtcStatus.EIO));
  });
});

test("every length and room of every message has an answer that fits", () => {
  for (const type of [...Object.values(RtcMessage), 0, 2, 0x1003, 0xffff])
    for (let requestBytes = 1; requestBytes <= 20; requestBytes++)
      for (let answerBytes = 8; answerBytes <= 20; answerBytes++)
        for (const clock of [0, 1, 0xffff]) {
          const bytes = answer(type, requestBytes, answerBytes, clock);
          expect(bytes.length).toBeLessThanOrEqual(answerBytes);
          const isClocks = type !== RtcMessage.CFG;
          const isKnown = Object.values(RtcMessage).some((known) => known === type);
          const tooShort = requestBytes < 8 || answerBytes < 16 || (isClocks && requestBytes < 16);
          if (requestBytes >= 8 && !isKnown) expect(bytes).toEqual(head(RtcStatus.EOPNOTSUPP));
          else if (tooShort) expect(bytes).toEqual(head(RtcStatus.EINVAL));
          else expect(bytes[0]).toBe(isClocks && clock !== 0 ? RtcStatus.ENODEV : RtcStatus.OK);
        }
});
