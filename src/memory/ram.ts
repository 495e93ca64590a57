import { fstatSync } from "node:fs";
import { Errno, SysError } from "../host/errno.ts";
import { check, errno, libc } from "../host/libc.ts";
import { Madvise, MapFlag, mmap, munmap, PAGE_SIZE, Prot } from "../host/mmap.ts";
import { cString } from "../host/scratch.ts";
import { type Gpa, hva } from "./address.ts";
import type { RamRegion } from "./guest-memory.ts";

const MFD_CLOEXEC = 1;
const MFD_HUGETLB = 4;
const MFD_HUGE_SHIFT = 26;

/** How guest RAM is backed by the host. */
export interface RamBacking {
  /** MAP_SHARED, so that other processes can map it. */
  readonly shared: boolean;
  readonly hugepages: boolean;
  /** Bytes, a power of two; the host's default huge page when absent. */
  readonly hugepageSize?: number | undefined;
  /** Populate all pages at creation. */
  readonly prefault: boolean;
  /** Account the memory at creation, so that a host without room says so now. */
  readonly reserve: boolean;
  /** Advise transparent huge pages. */
  readonly thp: boolean;
  /** Let KSM merge equal pages. */
  readonly mergeable: boolean;
}

/** Guest RAM that cannot be had. */
export class RamError extends Error {
  override readonly name = "RamError";
}

/** A mapped region and what it is a mapping of, as plain data. */
export interface BackedRegion extends RamRegion {
  /** The file that is mapped from its start, when there is one. */
  readonly fd: number | undefined;
  /** What is written goes to the file. */
  readonly shared: boolean;
  /** Bytes that the host gives and takes back at once; the region is a multiple of them. */
  readonly pageSize: number;
}

/** Guest RAM, owned by the main thread: pages come from the host when first touched. */
export class GuestRam {
  readonly regions: readonly BackedRegion[];

  /**
   * @param placement where RAM lies in the guest and how much, in bytes
   * @throws RamError saying what the host lacks
   */
  constructor(placement: readonly { readonly gpa: Gpa; readonly size: number }[], backing: RamBacking) {
    const regions: BackedRegion[] = [];
    this.regions = regions;
    try {
      for (const { gpa, size } of placement) regions.push({ gpa, size, shared: backing.shared, ...map(size, backing) });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Gives the memory back to the host. No thread and no VM may use it any more. */
  close(): void {
    for (const { hva, size, fd } of this.regions) {
      munmap(hva, size);
      if (fd !== undefined) libc.close(fd);
    }
  }
}

function map(size: number, backing: RamBacking): Pick<BackedRegion, "hva" | "fd" | "pageSize"> {
  const { hugepages } = backing;
  const unit = hugepages ? (backing.hugepageSize ?? PAGE_SIZE) : PAGE_SIZE;
  if (size % unit !== 0)
    throw new RamError(`guest RAM of ${size} bytes is not a multiple of its page size of ${unit} bytes`);
  const fd = backing.shared || backing.hugepages ? backingFile(size, backing) : undefined;
  try {
    const address = mmap({
      size,
      prot: Prot.READ | Prot.WRITE,
      flags:
        (backing.shared ? MapFlag.SHARED : MapFlag.PRIVATE) |
        (fd === undefined ? MapFlag.ANONYMOUS : 0) |
        // A huge page that is missing when it is touched cannot be waited for and kills whoever touches it.
        (backing.reserve || backing.hugepages ? 0 : MapFlag.NORESERVE) |
        (backing.prefault ? MapFlag.POPULATE : 0),
      ...(fd === undefined ? {} : { fd }),
    });
    advise(address, size, backing);
    return { hva: hva(address), fd, pageSize: hugepages && fd !== undefined ? fstatSync(fd).blksize : PAGE_SIZE };
  } catch (cause) {
    if (fd !== undefined) libc.close(fd);
    throw new RamError(`cannot map ${size} bytes of guest RAM: ${advice(cause, backing)}`, { cause });
  }
}

function backingFile(size: number, { hugepages, hugepageSize }: RamBacking): number {
  const huge = hugepages
    ? MFD_HUGETLB | (hugepageSize === undefined ? 0 : Math.log2(hugepageSize) << MFD_HUGE_SHIFT)
    : 0;
  const fd = libc.memfd_create(cString("guest-ram"), (MFD_CLOEXEC | huge) >>> 0);
  if (fd < 0) {
    const cause = new SysError(errno(), "memfd_create");
    const what = hugepages ? `huge pages of ${hugepageSize ?? "the default number of"} bytes` : "shared memory";
    throw new RamError(`this host has no ${what} for guest RAM`, { cause });
  }
  if (libc.ftruncate(fd, size) < 0) {
    const cause = new SysError(errno(), `size the backing file of guest RAM to ${size} bytes`);
    libc.close(fd);
    throw new RamError("cannot size guest RAM: its size must be a multiple of the huge page size", { cause });
  }
  return fd;
}

/** KSM and THP are hints: a kernel built without them says EINVAL, and the guest runs all the same. */
function advise(address: number, size: number, { hugepages, thp, mergeable }: RamBacking): void {
  for (const [wanted, hint] of [
    [mergeable, Madvise.MERGEABLE],
    [thp && !hugepages, Madvise.HUGEPAGE],
  ] as const)
    if (wanted && libc.madvise(address, size, hint) < 0 && errno() !== Errno.EINVAL)
      check(-1, `madvise ${hint} of guest RAM`);
}

function advice(cause: unknown, { hugepages, reserve }: RamBacking): string {
  if (!(cause instanceof SysError) || cause.errno !== Errno.ENOMEM) return "the host refused";
  if (hugepages) return "the host has too few free huge pages (raise vm.nr_hugepages)";
  return reserve ? "the host cannot reserve that much (reserve=off maps it lazily)" : "the host has too little memory";
}
