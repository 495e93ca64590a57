import { installFilter, type SeccompMode } from "../host/seccomp/install.ts";

/** The filter that the calling thread has, on top of the process's own. */
let filter: string | undefined;

/**
 * Takes from the calling thread what it does not need to serve. For a thread that has set itself up, before it touches anything
 * of a guest's. A thread that works again, for the next VM, has its filter already.
 * @param program of the thread's kind, made by `filterProgram`
 * @param mode undefined when there are to be no filters
 * @throws SeccompError
 */
export function confineThread(program: string, mode: SeccompMode | undefined): void {
  if (mode === undefined || filter === program) return;
  if (filter !== undefined) throw new Error("a thread cannot change its filter");
  installFilter(program, mode, "thread");
  filter = program;
}
