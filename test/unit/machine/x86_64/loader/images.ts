/** Small kernel images, made by code so that every field of theirs can lie. */

export interface ElfSegment {
  readonly type: number;
  readonly paddr?: number | bigint;
  readonly data?: Uint8Array;
  readonly offset?: number | bigint;
  readonly filesz?: number | bigint;
  readonly memsz?: number | bigint;
}

export interface ElfSpec {
  readonly segments: readonly ElfSegment[];
  readonly entry?: number | bigint;
  readonly phoff?: number | bigint;
  readonly phentsize?: number;
  readonly phnum?: number;
}

export const PT_LOAD = 1;
export const PT_NOTE = 4;

/** A note as it lies in a segment; sizes may be given other values than the true ones. */
export function note(name: string, type: number, descriptor: Uint8Array, namesz?: number, descsz?: number): Uint8Array {
  const pad = (length: number) => Math.ceil(length / 4) * 4;
  const bytes = Buffer.alloc(12 + pad(name.length) + pad(descriptor.length));
  bytes.writeUInt32LE(namesz ?? name.length, 0);
  bytes.writeUInt32LE(descsz ?? descriptor.length, 4);
  bytes.writeUInt32LE(type, 8);
  bytes.write(name, 12, "latin1");
  bytes.set(descriptor, 12 + pad(name.length));
  return bytes;
}

export function pvhNote(entry: number, size: 4 | 8 = 8): Uint8Array {
  const descriptor = Buffer.alloc(size);
  descriptor.writeUInt32LE(entry, 0);
  return note("Xen\0", 18, descriptor);
}

/** An ELF-64 file: header, program headers, then the data of each segment. */
export function elf({ segments, entry = 0x10_0000, phoff = 64, phentsize = 56, phnum }: ElfSpec): Buffer {
  const parts: Buffer[] = [];
  const header = Buffer.alloc(64);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(2, 16);
  header.writeUInt16LE(62, 18);
  header.writeUInt32LE(1, 20);
  header.writeBigUInt64LE(BigInt(entry), 24);
  header.writeBigUInt64LE(BigInt(phoff), 32);
  header.writeUInt16LE(64, 52);
  header.writeUInt16LE(phentsize, 54);
  header.writeUInt16LE(phnum ?? segments.length, 56);
  parts.push(header);
  let at = 64 + 56 * segments.length;
  for (const { type, paddr = 0, data = new Uint8Array(0), offset, filesz, memsz } of segments) {
    const program = Buffer.alloc(56);
    program.writeUInt32LE(type, 0);
    program.writeBigUInt64LE(BigInt(offset ?? at), 8);
    program.writeBigUInt64LE(BigInt(paddr), 24);
    program.writeBigUInt64LE(BigInt(filesz ?? data.length), 32);
    program.writeBigUInt64LE(BigInt(memsz ?? filesz ?? data.length), 40);
    parts.push(program);
    at += data.length;
  }
  return Buffer.concat([...parts, ...segments.map(({ data }) => Buffer.from(data ?? []))]);
}

/** A PVH kernel that is loaded at 1 MiB and 2 MiB. */
export function pvhKernel(code: Uint8Array = Buffer.from("code of a kernel"), entry = 0x10_0010): Buffer {
  return elf({
    segments: [
      { type: PT_NOTE, data: Buffer.concat([note("GNU\0", 3, Buffer.alloc(20, 1)), pvhNote(entry)]) },
      { type: PT_LOAD, paddr: 0x10_0000, data: code, memsz: code.length + 0x1000 },
      { type: PT_LOAD, paddr: 0x20_0000, data: Buffer.from("data of a kernel") },
    ],
  });
}

export interface BzImageSpec {
  readonly code?: Uint8Array;
  /** Compressed kernel with its size, put behind the code. */
  readonly payload?: Uint8Array;
  readonly setupSects?: number;
  readonly version?: number;
  readonly loadflags?: number;
  readonly code32Start?: number;
  readonly payloadOffset?: number;
  readonly payloadLength?: number;
  readonly initSize?: number;
}

export function bzImage({
  code = Buffer.from("protected-mode code"),
  payload = new Uint8Array(0),
  setupSects = 1,
  version = 0x20f,
  loadflags = 1,
  code32Start = 0x10_0000,
  payloadOffset,
  payloadLength,
  initSize = 64 << 20,
}: BzImageSpec = {}): Buffer {
  const setup = Buffer.alloc(((setupSects || 4) + 1) * 512);
  setup.writeUInt8(setupSects, 0x1f1);
  setup.writeUInt16LE(0xaa55, 0x1fe);
  setup.write("HdrS", 0x202, "latin1");
  setup.writeUInt16LE(version, 0x206);
  setup.writeUInt8(loadflags, 0x211);
  setup.writeUInt32LE(code32Start, 0x214);
  setup.writeUInt32LE(2047, 0x238);
  setup.writeUInt32LE(payloadOffset ?? code.length, 0x248);
  setup.writeUInt32LE(payloadLength ?? payload.length, 0x24c);
  setup.writeUInt32LE(initSize, 0x260);
  return Buffer.concat([setup, code, payload]);
}

/** Compressed data with its unpacked size behind it, as kernel builds append it. */
export function withSize(packed: Uint8Array, size: number): Buffer {
  const trailer = Buffer.alloc(4);
  trailer.writeUInt32LE(size, 0);
  return Buffer.concat([packed, trailer]);
}

/** An LZ4 legacy frame: literals, and matches where the last bytes repeat. */
export function lz4Legacy(data: Uint8Array): Buffer {
  const blocks: Buffer[] = [Buffer.from([0x02, 0x21, 0x4c, 0x18])];
  for (let start = 0; start < data.length; start += 8 << 20) {
    const block = lz4Block(data.subarray(start, start + (8 << 20)));
    const size = Buffer.alloc(4);
    size.writeUInt32LE(block.length, 0);
    blocks.push(size, block);
  }
  return Buffer.concat(blocks);
}

function lz4Block(data: Uint8Array): Buffer {
  const out: number[] = [];
  const seen = new Map<string, number>();
  const length = (value: number): void => {
    if (value < 15) return;
    let rest = value - 15;
    for (; rest >= 255; rest -= 255) out.push(255);
    out.push(rest);
  };
  const literals = (from: number, to: number, match: number): void => {
    out.push((Math.min(to - from, 15) << 4) | Math.min(match, 15));
    length(to - from);
    for (let i = from; i < to; i++) out.push(data[i] ?? 0);
  };
  let anchor = 0;
  let at = 0;
  while (at + 12 < data.length) {
    const key = `${data[at]},${data[at + 1]},${data[at + 2]},${data[at + 3]}`;
    const earlier = seen.get(key);
    seen.set(key, at);
    if (earlier === undefined || at - earlier > 0xffff) {
      at++;
      continue;
    }
    let matched = 4;
    while (at + matched + 5 < data.length && data[earlier + matched] === data[at + matched]) matched++;
    literals(anchor, at, matched - 4);
    out.push((at - earlier) & 0xff, (at - earlier) >> 8);
    length(matched - 4);
    at += matched;
    anchor = at;
  }
  literals(anchor, data.length, 0);
  return Buffer.from(out);
}

/** Numbers in [0, 2^32), the same for the same seed everywhere (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b_79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

export function randomBytes(seed: number, length: number): Uint8Array {
  const next = random(seed);
  return Uint8Array.from({ length }, () => next() & 0xff);
}

/** Data such as a kernel's: repeated words, runs of zeros, near and far matches, and branches dense enough for a filter. */
export function kernelLike(seed: number, length: number): Uint8Array {
  const next = random(seed);
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const kind = next() % 8;
    const run = Math.min(1 + (next() % 400), length - at);
    if (kind < 2) {
      at += run;
    } else if (kind < 4 && at > 0) {
      const distance = 1 + (next() % (kind === 2 ? Math.min(at, 8) : at));
      for (let i = 0; i < run; i++, at++) bytes[at] = bytes[at - distance] ?? 0;
    } else if (kind < 6) {
      for (const end = at + run; at < end; ) {
        bytes[at++] = 0xe8 + (next() & 1);
        if (at + 4 > end) break;
        bytes[at++] = next();
        bytes[at++] = next();
        bytes[at++] = next() % 4;
        bytes[at++] = next() % 3 === 0 ? 0xff : next() % 3 === 0 ? next() : 0;
      }
    } else {
      for (const end = at + run; at < end; ) bytes[at++] = 0x20 + (next() % 24);
    }
  }
  return bytes;
}

/** Bytes that an x86 branch filter can hardly tell from branches, to the last one. */
export function branches(seed: number, length: number): Uint8Array {
  const next = random(seed);
  const bytes = Uint8Array.from({ length }, () => [0xe8, 0xe9, 0, 0xff, next() & 0xff][next() % 5] ?? 0);
  bytes.set([0xe8, 1, 2, 3], length - 4);
  return bytes;
}
