import { type Gpa, gpa } from "../../../memory/address.ts";
import { HIGH_RAM } from "../layout.ts";
import { KernelImageError } from "./errors.ts";
import { type ImageBytes, isInside, viewOf } from "./image-bytes.ts";

/** Offsets of the setup header's fields (Linux Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header"). */
export const SetupHeader = {
  START: 0x1f1,
  SETUP_SECTS: 0x1f1,
  MAGIC: 0x202,
  VERSION: 0x206,
  TYPE_OF_LOADER: 0x210,
  LOADFLAGS: 0x211,
  CODE32_START: 0x214,
  RAMDISK_IMAGE: 0x218,
  RAMDISK_SIZE: 0x21c,
  CMD_LINE_PTR: 0x228,
  CMDLINE_SIZE: 0x238,
  PAYLOAD_OFFSET: 0x248,
  PAYLOAD_LENGTH: 0x24c,
  INIT_SIZE: 0x260,
} as const;
/** What of the header goes to the zero page: up to the end of what protocol 2.15 defines. */
export const SETUP_HEADER_BYTES = 123;
const SETUP_HEADER_END = SetupHeader.START + SETUP_HEADER_BYTES;

/** "HdrS" as a little-endian word. */
const MAGIC = 0x5372_6448;
const PROTOCOL_2_00 = 0x200;
/** The first with `init_size`. `payload_offset` is older. */
const PROTOCOL_2_10 = 0x20a;
const LOADED_HIGH = 1 << 0;
const SECTOR = 512;
const DEFAULT_SETUP_SECTORS = 4;

/** A Linux kernel image as `make bzImage` leaves it. */
export interface BzImage {
  /** Bytes of the file from `SetupHeader.START` on. */
  readonly setupHeader: Uint8Array;
  /** The protected-mode code, which is everything after the setup code. */
  readonly code: { readonly fileOffset: number; readonly size: number };
  /** Where the code goes, which is also where it is entered. */
  readonly loadAddress: Gpa;
  /** The compressed kernel inside the code, where the header says where it is. */
  readonly payload: BzImagePayload | undefined;
}

export interface BzImagePayload {
  readonly fileOffset: number;
  readonly size: number;
  /** Bytes that the kernel needs to unpack itself, which its unpacked size does not exceed. */
  readonly initSize: number;
}

/** Whether an image claims to be a bzImage. */
export function isBzImage(image: ImageBytes): boolean {
  return image.size >= SetupHeader.MAGIC + 4 && viewOf(image.read(SetupHeader.MAGIC, 4)).getUint32(0, true) === MAGIC;
}

/** @throws KernelImageError */
export function parseBzImage(image: ImageBytes): BzImage {
  if (!isBzImage(image)) throw new KernelImageError("not a bzImage");
  if (image.size < SETUP_HEADER_END) throw new KernelImageError("the bzImage's header is cut off");
  const header = viewOf(image.read(0, SETUP_HEADER_END));
  const version = header.getUint16(SetupHeader.VERSION, true);
  if (version < PROTOCOL_2_00) throw new KernelImageError("the bzImage's boot protocol is older than 2.00");
  if ((header.getUint8(SetupHeader.LOADFLAGS) & LOADED_HIGH) === 0)
    throw new KernelImageError("the kernel is a zImage, which loads below 1 MiB: build a bzImage");
  const loadAddress = header.getUint32(SetupHeader.CODE32_START, true);
  if (loadAddress < HIGH_RAM)
    throw new KernelImageError(`the bzImage's load address 0x${loadAddress.toString(16)} is below 1 MiB`);

  const sectors = header.getUint8(SetupHeader.SETUP_SECTS) || DEFAULT_SETUP_SECTORS;
  const fileOffset = (sectors + 1) * SECTOR;
  if (fileOffset >= image.size) throw new KernelImageError("the bzImage ends before its code starts");
  return {
    setupHeader: image.read(SetupHeader.START, SETUP_HEADER_BYTES).slice(),
    code: { fileOffset, size: image.size - fileOffset },
    loadAddress: gpa(loadAddress),
    payload: version < PROTOCOL_2_10 ? undefined : payloadOf(image, header, fileOffset),
  };
}

/** A header that lies about its payload has none: the code may still boot. */
function payloadOf(image: ImageBytes, header: DataView, codeOffset: number): BzImagePayload | undefined {
  const fileOffset = codeOffset + header.getUint32(SetupHeader.PAYLOAD_OFFSET, true);
  const size = header.getUint32(SetupHeader.PAYLOAD_LENGTH, true);
  if (size === 0 || !isInside(image, fileOffset, size)) return undefined;
  return { fileOffset, size, initSize: header.getUint32(SetupHeader.INIT_SIZE, true) };
}
