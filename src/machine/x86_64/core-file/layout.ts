import type { CoreRegisters } from "../../../hypervisor/hypervisor.ts";
import { ByteWriter } from "../../byte-writer.ts";
import { cpuNotes } from "./notes.ts";

const FILE_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
/** Memory starts on a page of the file, so that it can be mapped. */
const ALIGNMENT = 4096;
const ET_CORE = 4;
const EM_X86_64 = 62;
const EV_CURRENT = 1;
const PT_LOAD = 1;
const PT_NOTE = 4;

/** A core file but for the memory in it. */
export interface CoreLayout {
  /** What stands at the file's start. */
  readonly head: Uint8Array;
  /** Where in the file each region of memory starts, in bytes. */
  readonly offsets: readonly number[];
  /** Bytes of the whole file. */
  readonly size: number;
}

/**
 * Lays out an ELF core file of a machine (gABI, chapters 4 and 5): notes of the vCPUs, then a segment for each region of RAM at
 * its guest physical address. That is also what QEMU's dump-guest-memory writes, so gdb and crash read it.
 */
export function layOutCore(
  vcpus: readonly CoreRegisters[],
  ram: readonly { readonly gpa: number; readonly size: number }[],
): CoreLayout {
  const notes = cpuNotes(vcpus);
  const headers = 1 + ram.length;
  const notesAt = FILE_HEADER_BYTES + headers * PROGRAM_HEADER_BYTES;
  let end = notesAt + notes.length;
  const offsets = ram.map(({ size }) => {
    const offset = Math.ceil(end / ALIGNMENT) * ALIGNMENT;
    end = offset + size;
    return offset;
  });
  const head = new ByteWriter(notesAt + notes.length);
  fileHeader(head, headers);
  programHeader(head, { type: PT_NOTE, offset: notesAt, address: 0, size: notes.length, alignment: 4 });
  ram.forEach(({ gpa, size }, i) => {
    programHeader(head, { type: PT_LOAD, offset: offsets[i] ?? 0, address: gpa, size, alignment: ALIGNMENT });
  });
  head.bytes(notes);
  return { head: head.finish(), offsets, size: end };
}

function fileHeader(into: ByteWriter, programHeaders: number): void {
  const { CLASS64, LSB } = { CLASS64: 2, LSB: 1 };
  into.bytes([0x7f, 0x45, 0x4c, 0x46, CLASS64, LSB, EV_CURRENT]);
  into.zeros(9);
  into.u16(ET_CORE);
  into.u16(EM_X86_64);
  into.u32(EV_CURRENT);
  // Neither an entry point nor sections.
  into.u64(0);
  into.u64(FILE_HEADER_BYTES);
  into.u64(0);
  into.u32(0);
  into.u16(FILE_HEADER_BYTES);
  into.u16(PROGRAM_HEADER_BYTES);
  into.u16(programHeaders);
  into.zeros(6);
}

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
  readonly alignment: number;
}

/** A segment has no virtual address: the guest may have the memory at many, or at none. */
function programHeader(into: ByteWriter, { type, offset, address, size, alignment }: Segment): void {
  into.u32(type);
  into.u32(0);
  into.u64(offset);
  into.u64(0);
  into.u64(address);
  into.u64(size);
  into.u64(size);
  into.u64(alignment);
}
