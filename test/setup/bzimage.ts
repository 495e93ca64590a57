import { run, SetupError } from "./exec.ts";

/** Offsets of the boot protocol header fields (Linux Documentation/arch/x86/boot.rst, "Details of Header Fields"). */
const SETUP_SECTS = 0x1f1;
const HEADER_MAGIC = 0x202;
const PAYLOAD_OFFSET = 0x248;
const PAYLOAD_LENGTH = 0x24c;

const FORMATS: readonly { readonly magic: readonly number[]; readonly unpack: readonly [string, ...string[]] }[] = [
  { magic: [0x1f, 0x8b], unpack: ["gzip", "-dc"] },
  { magic: [0xfd, 0x37, 0x7a, 0x58, 0x5a], unpack: ["xz", "-dc", "--single-stream"] },
  { magic: [0x02, 0x21, 0x4c, 0x18], unpack: ["lz4", "-dc"] },
  { magic: [0x28, 0xb5, 0x2f, 0xfd], unpack: ["zstd", "-dc"] },
];

/**
 * The ELF kernel inside a bzImage.
 * @throws SetupError when the file is no bzImage or its payload no ELF in a known compression.
 */
export async function extractVmlinux(bzImage: Uint8Array): Promise<Uint8Array> {
  const view = new DataView(bzImage.buffer, bzImage.byteOffset, bzImage.byteLength);
  if (bzImage.length < 0x260 || view.getUint32(HEADER_MAGIC, true) !== 0x53726448) {
    throw new SetupError("not a bzImage: the boot header has no HdrS magic");
  }
  const start = (view.getUint8(SETUP_SECTS) + 1) * 512 + view.getUint32(PAYLOAD_OFFSET, true);
  const end = start + view.getUint32(PAYLOAD_LENGTH, true);
  if (end > bzImage.length) throw new SetupError("the bzImage is shorter than its payload");
  const payload = bzImage.subarray(start, end);
  const format = FORMATS.find(({ magic }) => magic.every((byte, i) => payload[i] === byte));
  if (format === undefined) throw new SetupError("the bzImage's payload is in an unknown compression");
  // Except for gzip, whose own trailer says it, the build appends the unpacked size as 4 bytes.
  const stream = format.unpack[0] === "gzip" ? payload : payload.subarray(0, payload.length - 4);
  const elf = await run(format.unpack, { stdin: stream });
  if (new DataView(elf.buffer, elf.byteOffset).getUint32(0, false) !== 0x7f454c46) {
    throw new SetupError("the bzImage's payload is not an ELF file");
  }
  return elf;
}
