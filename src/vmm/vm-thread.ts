import type { VcpuHandle } from "../hypervisor/hypervisor.ts";
import { KvmVcpu } from "../hypervisor/kvm/vcpu.ts";
import type { SharedArena } from "../threads/arena.ts";
import { type BlockRef, refTo } from "../threads/block-ref.ts";
import { ThreadControl, ThreadRequest, ThreadState } from "../threads/control.ts";

/** How long a thread may take to reach a point where it can be parked: one access, or the I/O it has in flight. */
const PARK_MS = 30_000;

/** A thread that does not obey. */
export class ThreadStuckError extends Error {
  override readonly name = "ThreadStuckError";
  constructor(thread: string, what: string) {
    super(`thread ${thread} did not ${what} within ${PARK_MS / 1000} s`);
  }
}

/** A thread of the VM as the main thread steers it. */
export class VmThread {
  readonly name: string;
  readonly control: ThreadControl;
  readonly controlRef: BlockRef;
  /** The vCPU it runs, when it runs one. */
  vcpu: VcpuHandle | undefined;
  /** It was asked to end its job, which nothing takes back. */
  #stopped = false;

  /** @throws SysError, RangeError when the arena is full */
  constructor(name: string, arena: SharedArena) {
    const block = arena.allocate(ThreadControl.size);
    this.name = name;
    this.control = new ThreadControl(block);
    this.control.open();
    this.controlRef = refTo(block);
  }

  /** Asks the thread to park; `waitParked` waits for it. */
  pause(): void {
    if (this.#stopped) return;
    this.#ask(ThreadRequest.PAUSE);
  }

  /** A thread that has stopped counts as parked. @throws ThreadStuckError */
  waitParked(): void {
    if (!this.control.waitFor(ThreadState.PAUSED, PARK_MS)) throw new ThreadStuckError(this.name, "pause");
  }

  /** Lets a parked thread go on. @throws ThreadStuckError */
  resume(): void {
    if (this.#stopped) return;
    if (this.vcpu !== undefined) KvmVcpu.setImmediateExit(this.vcpu, false);
    this.control.ask(ThreadRequest.RUN);
    if (!this.control.waitFor(ThreadState.RUNNING, PARK_MS)) throw new ThreadStuckError(this.name, "resume");
  }

  /** Asks the thread to end its job. */
  stop(): void {
    this.#stopped = true;
    this.#ask(ThreadRequest.STOP);
  }

  /** An immediate exit comes first, so that a vCPU that is about to enter the guest does not miss the kick. */
  #ask(request: ThreadRequest): void {
    if (this.vcpu !== undefined) KvmVcpu.setImmediateExit(this.vcpu, true);
    this.control.ask(request);
  }
}
