import { check, libc } from "../../host/libc.ts";
import { mapAnonymous, munmap } from "../../host/mmap.ts";
import { struct, u16, u32, u64 } from "../../host/struct.ts";

/** What a statistics descriptor begins with (linux/kvm.h, KVM_GET_STATS_FD). */
export const kvmStatsHeader = struct("kvm_stats_header", {
  flags: u32,
  name_size: u32,
  num_desc: u32,
  id_offset: u32,
  desc_offset: u32,
  data_offset: u32,
});
/** What is said of one statistic; its name follows. */
export const kvmStatsDesc = struct("kvm_stats_desc", {
  flags: u32,
  exponent: u16,
  size: u16,
  offset: u32,
  bucket_size: u32,
});

/** Far more than any kernel has to say. */
const MAX_BYTES = 1 << 18;

/** Statistics of one kind by name: KVM says at run time which there are and where they lie, the same for all vCPUs. */
export class KvmStats {
  readonly #offsets = new Map<string, number>();

  /** @param fd of any vCPU's statistics. @throws SysError */
  constructor(fd: number) {
    const block = mapAnonymous(MAX_BYTES);
    try {
      check(libc.pread(fd, block.address, kvmStatsHeader.size, 0), "read the header of KVM's statistics");
      const { name_size, num_desc, desc_offset, data_offset } = kvmStatsHeader.at(block);
      const each = kvmStatsDesc.size + name_size;
      const count = Math.min(num_desc, Math.floor(MAX_BYTES / each));
      check(libc.pread(fd, block.address, count * each, desc_offset), "read the descriptors of KVM's statistics");
      const decoder = new TextDecoder("latin1");
      for (let i = 0; i < count; i++) {
        const { size, offset } = kvmStatsDesc.at(block, i * each);
        const at = i * each + kvmStatsDesc.size;
        const name = decoder.decode(block.u8.slice(at, at + name_size));
        // Histograms are several numbers; nobody needs them here.
        if (size === 1) this.#offsets.set(name.slice(0, name.indexOf("\0")), data_offset + offset);
      }
    } finally {
      munmap(block.address, block.size);
    }
  }

  /** Those of `names` that there are. @throws SysError */
  read(fd: number, names: readonly string[]): Record<string, number> {
    const block = mapAnonymous(8);
    const value = struct("u64", { value: u64 }).at(block);
    try {
      const found: Record<string, number> = {};
      for (const name of names) {
        const offset = this.#offsets.get(name);
        if (offset === undefined) continue;
        check(libc.pread(fd, block.address, 8, offset), `read KVM's statistic ${name}`);
        found[name] = value.value;
      }
      return found;
    } finally {
      munmap(block.address, block.size);
    }
  }
}
