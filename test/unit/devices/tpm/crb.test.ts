import { beforeEach, describe, expect, test } from "bun:test";
import { CRB_BYTES, CrbTpm } from "../../../../src/devices/tpm/crb.ts";
import { tpmState } from "../../../../src/devices/tpm/state.ts";
import { createEventFd, drainEventFd } from "../../../../src/host/eventfd.ts";
import { blockAt, refTo } from "../../../../src/threads/block-ref.ts";
import { StateBlock } from "../../../../src/threads/state-block.ts";
import { block, hammer, read, write } from "../access.ts";

const BASE = 0xfed4_0000;
const LOC_STATE = 0x00;
const LOC_CTRL = 0x08;
const CTRL_REQ = 0x40;
const CTRL_STS = 0x44;
const CTRL_CANCEL = 0x48;
const CTRL_START = 0x4c;
const BUFFER = 0x80;

const doorbell = createEventFd();
let ref: ReturnType<typeof refTo>;
let tpm: CrbTpm;

function make(established = false): CrbTpm {
  ref = refTo(block(CrbTpm.blockSize));
  return new CrbTpm({ block: ref, doorbell, established, dataFd: -1, controlFd: -1 }, BASE);
}

/** Does the back end's part. */
function complete(): void {
  Atomics.store(new StateBlock(tpmState, blockAt(ref)).state.start, 0, 0);
}

beforeEach(() => {
  drainEventFd(doorbell);
  tpm = make();
  tpm.reset();
});

describe("the command response buffer of a TPM", () => {
  test("a command starts with the locality alone, and is the back end's until it is done", () => {
    write(tpm, CTRL_START, 1, 4);
    expect(read(tpm, CTRL_START, 4)).toBe(0);
    expect(drainEventFd(doorbell)).toBeFalse();
    write(tpm, LOC_CTRL, 1, 4);
    write(tpm, BUFFER, 0x1234_5678, 4);
    write(tpm, CTRL_START, 1, 4);
    expect(drainEventFd(doorbell)).toBeTrue();
    write(tpm, BUFFER, 0, 4);
    write(tpm, LOC_CTRL, 2, 4);
    write(tpm, CTRL_REQ, 2, 4);
    expect(read(tpm, BUFFER, 4)).toBe(0x1234_5678);
    expect(read(tpm, LOC_STATE, 4)).toBe(0x83);
    expect(read(tpm, CTRL_START, 4)).toBe(1);
    write(tpm, CTRL_CANCEL, 1, 4);
    expect(drainEventFd(doorbell)).toBeTrue();
    complete();
    write(tpm, LOC_CTRL, 2, 4);
    expect(read(tpm, LOC_STATE, 4)).toBe(0x81);
  });

  test("idle and ready; an unknown request is an error until the next ready", () => {
    expect(read(tpm, CTRL_STS, 4)).toBe(2);
    write(tpm, CTRL_REQ, 1, 4);
    expect(read(tpm, CTRL_STS, 4)).toBe(0);
    write(tpm, CTRL_REQ, 3, 4);
    expect(read(tpm, CTRL_STS, 4)).toBe(1);
    write(tpm, CTRL_REQ, 2, 4);
    write(tpm, CTRL_REQ, 1, 4);
    expect(read(tpm, CTRL_STS, 4)).toBe(0);
  });

  test("bytes and words of registers and buffer", () => {
    expect(read(tpm, 0x58, 4)).toBe(0xf80);
    expect(read(tpm, 0x5c, 4)).toBe(BASE + BUFFER);
    write(tpm, 0x5d, 0xaa, 1);
    write(tpm, 0x5e, 0xccbb, 2);
    expect(read(tpm, 0x5c, 4)).toBe(0xccbb_aa80);
    expect(read(tpm, 0x5d, 2)).toBe(0xbbaa);
    write(tpm, BUFFER + 5, 0x44332211, 4);
    expect(read(tpm, BUFFER + 6, 2)).toBe(0x3322);
    expect(read(tpm, CRB_BYTES - 1, 4)).toBe(0);
    expect(read(make(true), LOC_STATE, 4)).toBe(0x80);
  });

  test("no access does harm", () => {
    hammer(tpm, CRB_BYTES);
    complete();
    write(tpm, LOC_CTRL, 1, 4);
    write(tpm, CTRL_REQ, 1, 4);
    expect(read(tpm, CTRL_STS, 4) & 2).toBe(0);
  });

  test("a saved command is under way after a restore; a state of another size is refused", () => {
    write(tpm, LOC_CTRL, 1, 4);
    write(tpm, BUFFER, 0x99, 1);
    write(tpm, CTRL_START, 1, 4);
    const saved = tpm.save();
    const next = make();
    next.restore(saved);
    expect([read(next, CTRL_START, 4), read(next, BUFFER, 1)]).toEqual([1, 0x99]);
    expect(() => next.restore(saved.subarray(1))).toThrow(RangeError);
  });
});
