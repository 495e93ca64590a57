import { MemoryBlock } from "../../../src/host/memory-block.ts";
import { Lock } from "../../../src/threads/lock.ts";
import { serveJobs } from "../../../src/threads/serve-jobs.ts";

/** Adds 1 to a plain 64-bit counter, in two halves, `rounds` times, each under the lock. */
serveJobs(({ address, rounds }: { address: number; rounds: number }) => {
  if (rounds < 0) throw new Error("negative rounds", { cause: new TypeError("of the test") });
  const block = new MemoryBlock(address, 64);
  const lock = new Lock(block.i32, address);
  for (let i = 0; i < rounds; i++) {
    lock.acquire();
    block.u32[4] = (block.u32[4] ?? 0) + 1;
    block.u32[8] = (block.u32[8] ?? 0) + 1;
    lock.release();
  }
  return rounds;
});
