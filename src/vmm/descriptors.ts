import { libc } from "../host/libc.ts";

/** File descriptors of one VM, closed together when it ends. */
export class Descriptors {
  readonly #open: number[] = [];

  /** Takes over a descriptor. @returns it */
  own(fd: number): number {
    this.#open.push(fd);
    return fd;
  }

  /** Closes all of them. */
  close(): void {
    for (const fd of this.#open.splice(0)) libc.close(fd);
  }
}
