import { TpmBackEnd } from "../../../src/devices/tpm/back-end.ts";
import { CRB_BYTES, CrbTpm } from "../../../src/devices/tpm/crb.ts";
import { createEventFd } from "../../../src/host/eventfd.ts";
import { libc } from "../../../src/host/libc.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { makeNonBlocking, receive, send, socketPair } from "../../../src/host/unix-socket.ts";
import { refTo } from "../../../src/threads/block-ref.ts";
import type { Input } from "../engine/input.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { StepLoop } from "../support/fuzz-loop.ts";
import { accessOnce } from "../support/registers.ts";

const MOST_ACTS = 64;

export const target: FuzzTarget = {
  what: "the TPM: command response buffer, and a swtpm that says anything",
  maxBytes: 512,
  open: () => {
    const block = mapAnonymous(CrbTpm.blockSize);
    const doorbell = createEventFd();
    return (input) => {
      const [dataFd, data] = pair();
      const [controlFd, control] = pair();
      const wiring = { block: refTo(block), doorbell, established: false, dataFd, controlFd };
      const loop = new StepLoop();
      const tpm = new CrbTpm(wiring, 0xfed4_0000);
      tpm.reset();
      const backEnd = new TpmBackEnd(loop, wiring);
      const registers = {
        device: tpm,
        length: CRB_BYTES,
        widest: 8,
        places: [0x08, 0x40, 0x44, 0x48, 0x4c, 0x80, 0x82, 0x84],
      } as const;
      for (let acts = 0; acts < MOST_ACTS && !input.isEmpty; acts++) {
        play(input, [data, control], () => accessOnce(input, registers), tpm);
        if (input.bool()) loop.settle();
        if (input.below(16) === 1) backEnd.wake();
      }
      loop.close();
      for (const fd of [dataFd, data, controlFd, control]) libc.close(fd);
    };
  },
};

/** What one side or the other does. */
function play(input: Input, [data, control]: readonly [number, number], access: () => void, tpm: CrbTpm): void {
  switch (input.below(8)) {
    case 0:
      // A command of a right size, and its start.
      tpm.write({ offset: 0x08, size: 4, lo: 1, hi: 0 });
      tpm.write({ offset: 0x80, size: 8, lo: 0x0180, hi: (10 + input.below(4)) << 8 });
      tpm.write({ offset: 0x4c, size: 4, lo: 1, hi: 0 });
      break;
    case 1: {
      const length = input.bool() ? 10 : input.below(64);
      const answer = new Uint8Array(length);
      answer.set(input.take(length));
      if (input.below(4) > 0 && length >= 10) answer.set([0x80, 1, 0, 0, 0, length]);
      trySend(data, answer);
      break;
    }
    case 2:
      trySend(control, input.take(input.below(8)));
      break;
    case 3:
      receive(data);
      receive(control);
      break;
    case 4:
      if (input.below(8) === 1) libc.shutdown(data, 2);
      break;
    default:
      access();
  }
}

function trySend(fd: number, bytes: Uint8Array): void {
  try {
    if (bytes.length > 0) send(fd, bytes);
  } catch {
    // It was shut down before.
  }
}

function pair(): readonly [number, number] {
  const ends = socketPair();
  for (const fd of ends) makeNonBlocking(fd);
  return ends;
}
