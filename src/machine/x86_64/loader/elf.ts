import { type Gpa, gpa } from "../../../memory/address.ts";
import { HIGH_RAM } from "../layout.ts";
import { KernelImageError } from "./errors.ts";
import { type ImageBytes, isInside, readU64, viewOf } from "./image-bytes.ts";
import { findPvhEntry } from "./pvh-note.ts";

/** ELF-64 Object File Format 1.5, tables 1 to 3. */
const HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const DATA_LITTLE_ENDIAN = 1;
const ELF_MAGIC = 0x464c_457f;
/** Segment types (table 14). */
const PT_LOAD = 1;
const PT_NOTE = 4;

/** A part of an image and the guest memory it goes to. */
export interface LoadSegment {
  readonly fileOffset: number;
  readonly fileSize: number;
  readonly gpa: Gpa;
  /** Bytes it takes up; those beyond `fileSize` are zero. */
  readonly memorySize: number;
}

/** A kernel or firmware that is entered as PVH says. */
export interface PvhImage {
  /** In ascending order, without overlaps. */
  readonly segments: readonly LoadSegment[];
  /** Where execution starts. */
  readonly entry: Gpa;
}

/** Whether an image claims to be ELF. */
export function isElf(image: ImageBytes): boolean {
  return image.size >= 4 && viewOf(image.read(0, 4)).getUint32(0, true) === ELF_MAGIC;
}

/**
 * Reads what is to be loaded of an ELF image, and where its PVH entry is. Class, machine and type are not looked at.
 * @throws KernelImageError
 */
export function parsePvhElf(image: ImageBytes): PvhImage {
  if (!isElf(image)) throw new KernelImageError("not an ELF file");
  if (image.size < HEADER_BYTES) throw new KernelImageError("the ELF header is cut off");
  const header = viewOf(image.read(0, HEADER_BYTES));
  if (header.getUint8(5) !== DATA_LITTLE_ENDIAN) throw new KernelImageError("not a little-endian ELF file");
  const entry = readU64(header, 24);
  if (entry < HIGH_RAM) throw new KernelImageError(`the ELF entry point 0x${entry.toString(16)} is below 1 MiB`);
  const offset = readU64(header, 32);
  const entrySize = header.getUint16(54, true);
  const count = header.getUint16(56, true);
  if (entrySize !== PROGRAM_HEADER_BYTES)
    throw new KernelImageError(`ELF program headers of ${entrySize} bytes: not a 64-bit ELF file`);
  if (offset < HEADER_BYTES || !isInside(image, offset, count * PROGRAM_HEADER_BYTES))
    throw new KernelImageError("the ELF program headers lie outside the file");

  const headers = viewOf(image.read(offset, count * PROGRAM_HEADER_BYTES));
  const segments: LoadSegment[] = [];
  const notes: { offset: number; size: number }[] = [];
  for (let at = 0; at < headers.byteLength; at += PROGRAM_HEADER_BYTES) {
    const type = headers.getUint32(at, true);
    const fileOffset = readU64(headers, at + 8);
    const fileSize = readU64(headers, at + 32);
    if (type === PT_NOTE) notes.push({ offset: fileOffset, size: fileSize });
    if (type === PT_LOAD) {
      const memorySize = Math.max(fileSize, readU64(headers, at + 40));
      segments.push(checkSegment(image, fileOffset, fileSize, readU64(headers, at + 24), memorySize));
    }
  }
  return { segments: checkOverlaps(segments), entry: findPvhEntry(image, notes) };
}

function checkSegment(
  image: ImageBytes,
  fileOffset: number,
  fileSize: number,
  address: number,
  memorySize: number,
): LoadSegment {
  if (fileSize > 0 && !isInside(image, fileOffset, fileSize))
    throw new KernelImageError("an ELF segment lies outside the file, which may be cut off");
  if (!Number.isSafeInteger(address) || !Number.isSafeInteger(address + memorySize))
    throw new KernelImageError("an ELF segment ends beyond the address space");
  return { fileOffset, fileSize, gpa: gpa(address), memorySize };
}

function checkOverlaps(segments: readonly LoadSegment[]): LoadSegment[] {
  const used = segments.filter(({ memorySize }) => memorySize > 0).sort((a, b) => a.gpa - b.gpa);
  if (used.length === 0) throw new KernelImageError("the ELF file has nothing to load");
  let end = 0;
  for (const segment of used) {
    if (segment.gpa < end) throw new KernelImageError(`ELF segments overlap at 0x${segment.gpa.toString(16)}`);
    end = segment.gpa + segment.memorySize;
  }
  return used;
}
