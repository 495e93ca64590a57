import { dlopen, ptr } from "bun:ffi";
import { Errno, SysError } from "../../host/errno.ts";
import { check, errno, libc } from "../../host/libc.ts";
import { mapAnonymous, munmap } from "../../host/mmap.ts";
import type { BackedRegion } from "../../memory/ram.ts";
import { touchedRuns } from "../../memory/touched-pages.ts";
import { type ThreadControl, ThreadRequest } from "../../threads/control.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { CoreDumpJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";

/** What is written or left a hole as a whole. */
const UNIT_BYTES = 64 << 10;
/** At most so much is written between two looks at whether to go on. */
const WRITE_BYTES = 4 << 20;

/** Not among the functions that every thread has. */
const { memcmp } = dlopen("libc.so.6", { memcmp: { args: ["u64", "u64", "u64"], returns: "i32" } }).symbols;

/** The dump was not to be finished. */
class DumpStoppedError extends Error {
  override readonly name = "DumpStoppedError";
  constructor() {
    super("the VM was ended before its memory was written");
  }
}

serveJobs((job: CoreDumpJob): void =>
  onThread(job, (control) => {
    const { fd, head, size, offsets, machine } = job;
    check(libc.ftruncate(fd, size), `make a core file of ${size} bytes`);
    writeAll(fd, ptr(head), head.length, 0);
    machine.ram.forEach((region, i) => {
      const offset = offsets[i];
      if (offset !== undefined) writeRegion(fd, offset, region, control);
    });
  }),
);

/** Writes what is not zero: the file reads as zeroes elsewhere. @throws SysError, DumpStoppedError */
function writeRegion(fd: number, at: number, region: BackedRegion, control: ThreadControl): void {
  const zeroes = mapAnonymous(UNIT_BYTES);
  try {
    for (const { offset, length } of touchedRuns(region)) {
      const end = offset + length;
      let written = offset;
      const writeUntil = (to: number): void => {
        if (control.request === ThreadRequest.STOP) throw new DumpStoppedError();
        writeAll(fd, region.hva + written, to - written, at + written);
      };
      for (let unit = offset; unit < end; unit += UNIT_BYTES) {
        const bytes = Math.min(UNIT_BYTES, end - unit);
        const isZero = memcmp(region.hva + unit, zeroes.address, bytes) === 0;
        if (!isZero && unit - written < WRITE_BYTES) continue;
        writeUntil(unit);
        written = isZero ? unit + bytes : unit;
      }
      writeUntil(end);
    }
  } finally {
    munmap(zeroes.address, zeroes.size);
  }
}

function writeAll(fd: number, address: number, length: number, offset: number): void {
  for (let done = 0; done < length; ) {
    const count = libc.pwrite(fd, address + done, length - done, offset + done);
    if (count > 0) done += count;
    else if (count === 0 || errno() !== Errno.EINTR)
      throw new SysError(count === 0 ? Errno.EIO : errno(), `write ${length} bytes of a core file`);
  }
}
