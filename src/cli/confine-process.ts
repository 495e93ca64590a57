import { filterProgram } from "../host/seccomp/filter-program.ts" with { type: "macro" };
import { installFilter, type SeccompMode } from "../host/seccomp/install.ts";
import { installViolationHandler } from "../host/seccomp/violation-handler.ts";

const FILTER = filterProgram("vmm");

/**
 * Takes from all threads of the process, and from those to come, what the VMM never needs. Once, before the first byte that
 * somebody else wrote is read.
 * @param mode undefined when there are to be no filters
 * @throws SeccompError
 */
export function confineProcess(mode: SeccompMode | undefined): void {
  if (mode === undefined) return;
  if (mode === "trap") installViolationHandler();
  installFilter(FILTER, mode, "process");
}
