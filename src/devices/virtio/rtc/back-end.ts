import { realtimeNs } from "../../../host/clock.ts";
import type { GuestMemory } from "../../../memory/guest-memory.ts";
import type { IoClient, IoLoop } from "../../io-loop.ts";
import type { DescriptorChain } from "../queue/descriptor-chain.ts";
import { BackEnd } from "../transport/back-end.ts";
import { ChainServer } from "../transport/chain-server.ts";
import { type RtcWiring, rtcDevice } from "./device.ts";
import { answerTo, HEAD_BYTES } from "./protocol.ts";

const CLOCK_ID_OFFSET = 8;

/** Tells the driver the host's time. @throws SysError, RangeError when the wiring is not a clock's */
export function serveRtc(loop: IoLoop, wiring: RtcWiring, memory: GuestMemory): IoClient {
  const [queue] = new BackEnd(rtcDevice, wiring.transport, memory).queues;
  if (queue === undefined) throw new RangeError("a clock has a queue");
  return new ChainServer(loop, queue, { handle: answer });
}

function answer(chain: DescriptorChain): number {
  const { readableBytes, writableBytes } = chain;
  if (readableBytes === 0 || writableBytes < HEAD_BYTES) return 0;
  const request = {
    requestBytes: readableBytes,
    answerBytes: writableBytes,
    type: readableBytes < HEAD_BYTES ? 0 : readU16(chain, 0),
    clock: readableBytes < CLOCK_ID_OFFSET + 2 ? 0 : readU16(chain, CLOCK_ID_OFFSET),
  };
  const bytes = answerTo(request, realtimeNs());
  chain.write(0, bytes);
  return bytes.length;
}

const readU16 = (chain: DescriptorChain, offset: number): number =>
  chain.readU8(offset) | (chain.readU8(offset + 1) << 8);
