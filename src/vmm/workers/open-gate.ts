import type { RateGate, RateGateWiring } from "../../devices/rate-limit/rate-gate.ts";

/** A queue's gate on the thread that serves it. Few devices are limited, so the code is loaded only where one is. */
export async function openGate(wiring: RateGateWiring | undefined): Promise<RateGate | undefined> {
  if (wiring === undefined) return undefined;
  const { RateGate } = await import("../../devices/rate-limit/rate-gate.ts");
  return new RateGate(wiring);
}
