import { check, libc } from "./libc.ts";
import type { MemoryBlock } from "./memory-block.ts";
import { mapForThread, PAGE_SIZE } from "./mmap.ts";
import { cString } from "./scratch.ts";

const IN_NONBLOCK = 0o4000;
const IN_CLOEXEC = 0o2000000;
const IN_OPEN = 0x20;

/** A new non-blocking, close-on-exec descriptor that becomes readable when somebody opens the file at a path. @throws SysError */
export function watchOpens(path: string): number {
  const fd = check(libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "inotify_init1");
  try {
    check(libc.inotify_add_watch(fd, cString(path), IN_OPEN), `watch who opens ${path}`);
  } catch (error) {
    libc.close(fd);
    throw error;
  }
  return fd;
}

/** The thread's buffer for what it reads and throws away. */
let buffer: MemoryBlock | undefined;

/** Takes back all that an inotify descriptor tells. */
export function drainInotify(fd: number): void {
  buffer ??= mapForThread(PAGE_SIZE);
  while (libc.read(fd, buffer.address, buffer.size) > 0);
}
