import { type Gpa, gpa } from "../../../memory/address.ts";
import { KernelImageError } from "./errors.ts";
import { type ImageBytes, isInside, viewOf } from "./image-bytes.ts";

/** XEN_ELFNOTE_PHYS32_ENTRY (Xen's public/elfnote.h). */
const PHYS32_ENTRY = 18;
/** "Xen\0" as a little-endian word. */
const OWNER = 0x006e_6558;
const OWNER_BYTES = 4;
const ENTRY_BYTES = 4;
/** Name size, descriptor size and type (ELF, "Note Section"). */
const NOTE_HEADER_BYTES = 12;
/** Kernels have some hundred bytes of notes. */
const MAX_NOTES_BYTES = 1 << 20;

/**
 * Finds the 32-bit entry point that PVH uses among an image's notes.
 * @param areas of notes, as offsets into the image and sizes in bytes
 * @throws KernelImageError
 */
export function findPvhEntry(image: ImageBytes, areas: readonly { offset: number; size: number }[]): Gpa {
  let total = 0;
  for (const { offset, size } of areas) {
    if (!isInside(image, offset, size)) throw new KernelImageError("the ELF notes lie outside the file");
    total += size;
    if (total > MAX_NOTES_BYTES)
      throw new KernelImageError(`the ELF file has more than ${MAX_NOTES_BYTES} bytes of notes`);
    const entry = entryIn(viewOf(image.read(offset, size)));
    if (entry !== undefined) return gpa(entry);
  }
  throw new KernelImageError("missing PVH header: the ELF file has no PHYS32_ENTRY note (Linux: CONFIG_PVH)");
}

function entryIn(notes: DataView): number | undefined {
  const end = notes.byteLength;
  for (let at = 0; end - at >= NOTE_HEADER_BYTES; ) {
    const nameSize = notes.getUint32(at, true);
    const descriptorSize = notes.getUint32(at + 4, true);
    const type = notes.getUint32(at + 8, true);
    const name = at + NOTE_HEADER_BYTES;
    const descriptor = name + alignUp(nameSize);
    if (descriptor + descriptorSize > end) throw new KernelImageError("an ELF note runs over the end of its segment");
    if (nameSize === OWNER_BYTES && notes.getUint32(name, true) === OWNER && type === PHYS32_ENTRY) {
      if (descriptorSize < ENTRY_BYTES) throw new KernelImageError("the PVH note is too short for an entry point");
      return notes.getUint32(descriptor, true);
    }
    at = descriptor + alignUp(descriptorSize);
  }
  return undefined;
}

const alignUp = (size: number): number => Math.ceil(size / 4) * 4;
