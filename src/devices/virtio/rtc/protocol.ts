/** Messages of the clock device (VIRTIO 1.4, 5.23.6). */
export const RtcMessage = {
  READ: 0x0001,
  CFG: 0x1000,
  CLOCK_CAP: 0x1001,
  CROSS_CAP: 0x1002,
} as const;

/** First byte of an answer. */
export const RtcStatus = { OK: 0, EOPNOTSUPP: 2, ENODEV: 3, EINVAL: 4, EIO: 5 } as const;

/** Bytes of what every request begins with (type u16) and every answer (status u8). */
export const HEAD_BYTES = 8;
/** Bytes of a request about a clock: the head, clock_id u16, padding. */
const CLOCK_REQUEST_BYTES = 16;
/** Bytes of a whole answer. */
const ANSWER_BYTES = 16;

/** The one clock there is, and what it is: UTC that may be smeared, in what way is unknown. */
const CLOCK = 0;
const TYPE_UTC_MAYBE_SMEARED = 4;

/** A request as far as the device looks at it. */
export interface RtcRequest {
  /** Bytes that the driver sent, and that the answer may have. */
  readonly requestBytes: number;
  readonly answerBytes: number;
  /** Of a request that has them. */
  readonly type: number;
  readonly clock: number;
}

/**
 * The answer to a request: a head alone, or head and body.
 * @param answerBytes room for it, at least `HEAD_BYTES`
 * @param nowNs nanoseconds since 1970-01-01 UTC
 */
export function answerTo({ requestBytes, answerBytes, type, clock }: RtcRequest, nowNs: bigint): Uint8Array {
  if (requestBytes < HEAD_BYTES) return head(RtcStatus.EINVAL);
  const isClocks = type === RtcMessage.READ || type === RtcMessage.CLOCK_CAP || type === RtcMessage.CROSS_CAP;
  if (!isClocks && type !== RtcMessage.CFG) return head(RtcStatus.EOPNOTSUPP);
  if (answerBytes < ANSWER_BYTES || (isClocks && requestBytes < CLOCK_REQUEST_BYTES)) return head(RtcStatus.EINVAL);
  const answer = new Uint8Array(ANSWER_BYTES);
  const body = new DataView(answer.buffer, HEAD_BYTES);
  if (isClocks && clock !== CLOCK) {
    answer[0] = RtcStatus.ENODEV;
  } else if (type === RtcMessage.CFG) {
    body.setUint16(0, 1, true);
  } else if (type === RtcMessage.CLOCK_CAP) {
    body.setUint8(0, TYPE_UTC_MAYBE_SMEARED);
  } else if (type === RtcMessage.READ) {
    if (nowNs < 0n || nowNs >= 1n << 64n) answer[0] = RtcStatus.EIO;
    else body.setBigUint64(0, nowNs, true);
  }
  // No flags of CROSS_CAP are set: the clock is read on its own, without a counter of the processor.
  return answer;
}

function head(status: number): Uint8Array {
  const answer = new Uint8Array(HEAD_BYTES);
  answer[0] = status;
  return answer;
}
