import { libc } from "../libc.ts";
import { scratch } from "../scratch.ts";
import { Sys } from "../syscall-numbers.ts";
import { CPU_SET_BYTES } from "../thread.ts";

/** The host CPUs of the calling thread as it can be told to another process; undefined when they are not known. */
export function describePlacement(): string | undefined {
  const { u8, address } = scratch();
  const bytes = libc.sched_getaffinity(0, CPU_SET_BYTES, address);
  return bytes > 0 ? Buffer.from(u8.subarray(0, bytes)).toString("hex") : undefined;
}

/**
 * Keeps a process that starts off the CPU that the caller runs on, and so out of the way of its own start, where there is
 * another one. It takes back what it may have by `restorePlacement`. Whether this can be done changes nothing but the time taken.
 * @param placement of `describePlacement`
 */
export function placeAside(pid: number, placement: string): void {
  const { u8, u32, address } = scratch();
  if (libc.syscall(Sys.getcpu, address, 0, 0, 0, 0, 0) !== 0) return;
  const cpu = u32[0] ?? 0;
  const set = Buffer.from(placement, "hex");
  if (cpu >= set.length * 8) return;
  set[cpu >> 3] = (set[cpu >> 3] ?? 0) & ~(1 << (cpu & 7));
  if (set.every((byte) => byte === 0)) return;
  u8.set(set);
  libc.sched_setaffinity(pid, set.length, address);
}

/** Gives the calling thread, and what it starts from now on, the CPUs that its parent has described, if it has. */
export function restorePlacement(placement: string | undefined): void {
  if (placement === undefined || !/^(?:[0-9a-f]{2})+$/.test(placement)) return;
  const set = Buffer.from(placement, "hex");
  if (set.length > CPU_SET_BYTES) return;
  const { u8, address } = scratch();
  u8.set(set);
  libc.sched_setaffinity(0, set.length, address);
}
