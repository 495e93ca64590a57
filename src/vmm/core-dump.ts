import { closeSync, constants, openSync, unlinkSync } from "node:fs";
import type { VcpuState } from "../hypervisor/hypervisor.ts";
import { coreRegisters } from "../hypervisor/kvm/core-registers.ts";
import { layOutCore } from "../machine/x86_64/core-file/layout.ts";
import { SharedArena } from "../threads/arena.ts";
import { ThreadControl } from "../threads/control.ts";
import type { JobBase } from "./jobs.ts";
import type { ThreadPool } from "./thread-pool.ts";
import { VmThread } from "./vm-thread.ts";

const { O_WRONLY, O_CREAT, O_EXCL } = constants;
const SCHEME = "file://";
const THREAD = "coredump";
/** The guest's memory is nobody else's business. */
const MODE = 0o600;

/** A core file that cannot be had. The message says why. */
export class CoreDumpError extends Error {
  override readonly name = "CoreDumpError";
}

/** A paused VM. */
export interface DumpedVm {
  readonly vcpus: readonly VcpuState[];
  readonly threads: ThreadPool;
  /** Describes a thread's job. */
  readonly describe: (thread: VmThread) => JobBase;
  /** Told of the thread that writes, which ends early when it is asked to stop. */
  readonly onThread: (thread: VmThread) => void;
}

/**
 * Writes the memory and the registers of a paused VM into a new ELF core file, on a thread of its own. What fails leaves no file
 * behind.
 * @param destination `file://` and the path
 * @throws CoreDumpError, ThreadError
 */
export async function dumpCore(destination: string, { vcpus, threads, describe, onThread }: DumpedVm): Promise<void> {
  const path = pathOf(destination);
  const fd = createNew(path);
  const arena = new SharedArena(ThreadControl.size);
  try {
    const thread = new VmThread(THREAD, arena);
    try {
      onThread(thread);
      const base = describe(thread);
      const layout = layOutCore(vcpus.map(coreRegisters), base.machine.ram);
      await threads.thread("coreDump", THREAD).run({ ...base, fd, ...layout });
    } finally {
      await threads.end(THREAD);
      thread.control.close();
    }
  } catch (cause) {
    unlinkSync(path);
    throw new CoreDumpError(`cannot write the core file '${path}'`, { cause });
  } finally {
    arena.close();
    closeSync(fd);
  }
}

function pathOf(destination: string): string {
  if (destination.startsWith(SCHEME) && destination.length > SCHEME.length) return destination.slice(SCHEME.length);
  throw new CoreDumpError(`destination_url '${destination}' is not ${SCHEME} and the path of a new file`);
}

function createNew(path: string): number {
  try {
    return openSync(path, O_WRONLY | O_CREAT | O_EXCL, MODE);
  } catch (cause) {
    const exists = cause instanceof Error && "code" in cause && cause.code === "EEXIST";
    const advice = exists ? "there is one of that name: give another" : "the file cannot be created";
    throw new CoreDumpError(`cannot write the core file '${path}': ${advice}`, { cause });
  }
}
