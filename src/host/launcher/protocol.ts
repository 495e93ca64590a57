/**
 * What a VMM and its launcher say to each other. Requests and answers are messages on a SOCK_SEQPACKET socket, JSON with
 * descriptors beside it; notices of children that have ended are records on a stream of their own, which an event loop can
 * read without missing descriptors.
 */

/** The longest message, in bytes. */
export const MAX_MESSAGE_BYTES = 1 << 16;
/** The most streams of a program, and so the most descriptors of a message. */
export const MAX_STREAMS = 16;
/** Standard input, output and error are always given, so that none of the launcher's own gets through. */
const MIN_STREAMS = 3;
/** Bytes of a terminal's settings. */
const MAX_SETTINGS_BYTES = 256;
/** Stands for a stream that goes nowhere. */
export const NOWHERE = -1;
/** The id of a request that is not answered and of a child that nobody asks after. */
export const UNATTENDED = 0;
const MAX_ID = 0xffff_ffff;

/** A message that is not as it has to be. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/** Starts a program. */
export interface LaunchMessage {
  readonly kind: "launch";
  /** Chosen by the one who asks, or UNATTENDED. */
  readonly id: number;
  /** One of the names that the launcher knows. */
  readonly program: string;
  readonly args: readonly string[];
  /** The descriptors of the program, from 0: for each its index among those of the message, or NOWHERE. */
  readonly streams: readonly number[];
}

/** Puts the terminal that comes with it back when the VMM is gone, if it is still as `raw` says. */
export interface GuardMessage {
  readonly kind: "guard";
  readonly original: Uint8Array;
  readonly raw: Uint8Array;
}

export type Request = LaunchMessage | GuardMessage;

/** The child has started, and a pidfd comes with the message; or it has not. */
export type Answer =
  | { readonly kind: "started"; readonly id: number; readonly pid: number }
  /** `errno` is 0 when it was not the system that refused. */
  | { readonly kind: "failed"; readonly id: number; readonly errno: number; readonly why: string };

/** How a process has ended. */
export type ExitStatus =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "killed"; readonly signal: number };

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

type Members = Readonly<Record<string, unknown>>;

function members(bytes: Uint8Array): Members {
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch (cause) {
    throw new ProtocolError("a message that is no JSON", { cause });
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new ProtocolError("a message without members");
  return value as Members;
}

function integer(value: unknown, name: string, min: number, max: number): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < min || value > max)
    throw new ProtocolError(`${name} is no number of ${min} to ${max}`);
  return value;
}

/** A text that can be a C string. */
function text(value: unknown, name: string): string {
  if (typeof value !== "string" || value.includes("\0")) throw new ProtocolError(`${name} is no text without NUL`);
  return value;
}

function list(value: unknown, name: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new ProtocolError(`${name} is no list`);
  return value;
}

function settings(value: unknown, name: string): Uint8Array {
  const hex = text(value, name);
  if (!/^([0-9a-f]{2})+$/.test(hex) || hex.length / 2 > MAX_SETTINGS_BYTES)
    throw new ProtocolError(`${name} are no settings of a terminal`);
  return Uint8Array.fromHex(hex);
}

function needFds(count: number, wanted: number): void {
  if (count !== wanted) throw new ProtocolError(`${count} descriptors instead of ${wanted}`);
}

/** @throws ProtocolError when it is too long */
function bounded(value: object): Uint8Array {
  const bytes = encoder.encode(JSON.stringify(value));
  if (bytes.length > MAX_MESSAGE_BYTES)
    throw new ProtocolError(`a message of ${bytes.length} bytes exceeds ${MAX_MESSAGE_BYTES}`);
  return bytes;
}

/** @throws ProtocolError when it is too long */
export function encodeRequest(request: Request): Uint8Array {
  if (request.kind === "launch") return bounded(request);
  return bounded({ kind: request.kind, original: request.original.toHex(), raw: request.raw.toHex() });
}

/** @param fdCount how many descriptors came along @throws ProtocolError */
export function decodeRequest(bytes: Uint8Array, fdCount: number): Request {
  const message = members(bytes);
  switch (message["kind"]) {
    case "launch": {
      const streams = list(message["streams"], "streams").map((index) =>
        integer(index, "a stream", NOWHERE, fdCount - 1),
      );
      integer(streams.length, "the number of streams", MIN_STREAMS, MAX_STREAMS);
      return {
        kind: "launch",
        id: integer(message["id"], "id", UNATTENDED, MAX_ID),
        program: text(message["program"], "program"),
        args: list(message["args"], "args").map((arg) => text(arg, "an argument")),
        streams,
      };
    }
    case "guard": {
      needFds(fdCount, 1);
      const original = settings(message["original"], "original");
      const raw = settings(message["raw"], "raw");
      if (original.length !== raw.length) throw new ProtocolError("settings of different terminals");
      return { kind: "guard", original, raw };
    }
    default:
      throw new ProtocolError("a request of no kind");
  }
}

/** @throws ProtocolError when it is too long */
export function encodeAnswer(answer: Answer): Uint8Array {
  return bounded(answer);
}

/** @param fdCount how many descriptors came along @throws ProtocolError */
export function decodeAnswer(bytes: Uint8Array, fdCount: number): Answer {
  const message = members(bytes);
  const id = integer(message["id"], "id", UNATTENDED, MAX_ID);
  switch (message["kind"]) {
    case "started":
      needFds(fdCount, 1);
      return { kind: "started", id, pid: integer(message["pid"], "pid", 1, 0x7fff_ffff) };
    case "failed":
      needFds(fdCount, 0);
      return {
        kind: "failed",
        id,
        errno: integer(message["errno"], "errno", 0, 4095),
        why: text(message["why"], "why"),
      };
    default:
      throw new ProtocolError("an answer of no kind");
  }
}

/** A notice: the id of the request that started the child, and its status as wait(2) gives it. Little-endian. */
const NOTICE_BYTES = 8;

export function encodeNotice(id: number, waitStatus: number): Uint8Array {
  const bytes = new Uint8Array(NOTICE_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, id, true);
  view.setUint32(4, waitStatus, true);
  return bytes;
}

/** Takes a stream of notices apart, wherever it was cut. */
export class NoticeReader {
  readonly #record = new Uint8Array(NOTICE_BYTES);
  readonly #view = new DataView(this.#record.buffer);
  #filled = 0;

  *read(bytes: Uint8Array): Generator<{ readonly id: number; readonly status: ExitStatus }> {
    for (let at = 0; at < bytes.length; ) {
      const part = bytes.subarray(at, at + NOTICE_BYTES - this.#filled);
      this.#record.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled < NOTICE_BYTES) return;
      this.#filled = 0;
      yield { id: this.#view.getUint32(0, true), status: exitStatus(this.#view.getUint32(4, true)) };
    }
  }
}

/** What a status of wait(2) says (bits/waitstatus.h). */
export function exitStatus(waitStatus: number): ExitStatus {
  const signal = waitStatus & 0x7f;
  return signal === 0 ? { kind: "exited", code: (waitStatus >> 8) & 0xff } : { kind: "killed", signal };
}
