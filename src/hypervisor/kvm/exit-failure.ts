import type { MemoryBlock } from "../../host/memory-block.ts";
import { KvmExit, KvmRunOffset } from "./abi.ts";

const SUBERRORS = [
  "unknown",
  "instruction emulation failed",
  "simultaneous exceptions",
  "exit while delivering an event",
];

const hex = (value: number): string => `0x${value.toString(16)}`;
const u64 = ({ view }: MemoryBlock, offset: number): string => `0x${view.getBigUint64(offset, true).toString(16)}`;

/** What an exit means that the VM cannot survive, for the error message. */
export function describeFailure(run: MemoryBlock): string {
  const reason = run.view.getUint32(KvmRunOffset.exit_reason, true);
  if (reason === KvmExit.FAIL_ENTRY)
    return `the processor refused to enter the guest, reason ${u64(run, KvmRunOffset.fail_entry.hardware_entry_failure_reason)}`;
  if (reason === KvmExit.UNKNOWN) return `unknown hardware exit ${u64(run, 32)}`;
  if (reason !== KvmExit.INTERNAL_ERROR) return `unexpected KVM exit ${reason}`;
  const suberror = run.view.getUint32(KvmRunOffset.internal.suberror, true);
  const count = Math.min(run.view.getUint32(KvmRunOffset.internal.ndata, true), 16);
  const data = Array.from({ length: count }, (_, i) => u64(run, KvmRunOffset.internal.data + 8 * i));
  const what = SUBERRORS[suberror] ?? `suberror ${hex(suberror)}`;
  return `KVM internal error: ${what}${count > 0 ? ` (${data.join(" ")})` : ""}`;
}
