import type { BlockRef } from "../../threads/block-ref.ts";

/** What the host has at its end of a character device. All descriptors are non-blocking where that means something. */
export type HostEnd =
  /** There from the start: a terminal, a file, a FIFO. Input comes from another descriptor, if from any. */
  | { readonly kind: "fixed"; readonly outputFd: number; readonly inputFd: number | undefined }
  /** A pseudo-terminal, which programs open and close. `opensFd` is an inotify instance that tells when one opens it. */
  | { readonly kind: "pty"; readonly masterFd: number; readonly opensFd: number }
  /** A listening socket: one client at a time. */
  | { readonly kind: "socket"; readonly listenFd: number };

/** Where a device leaves its output: an `OutputRing`, from any thread. */
export interface OutputWiring {
  readonly block: BlockRef;
  /** An eventfd that tells the I/O thread of output. */
  readonly doorbell: number;
}

/** The host's side of a character device as plain data. */
export interface ChardevWiring {
  /** The option that asked for it, for messages. */
  readonly name: string;
  readonly output: OutputWiring;
  readonly end: HostEnd;
}
