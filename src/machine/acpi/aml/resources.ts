import { type ByteString, byte, concat, dword, qword, word } from "../../byte-string.ts";
import { buffer } from "./data.ts";
import type { Term } from "./term.ts";

/** Resource descriptors (ACPI 6.5 section 6.4): one, or several in a row. */
export type Resource = ByteString;

const IO_PORT_DESCRIPTOR = "\x47";
const END_TAG = "\x79\x00";
const MEMORY_32_FIXED = "\x86";
const DWORD_ADDRESS_SPACE = "\x87";
const WORD_ADDRESS_SPACE = "\x88";
const EXTENDED_INTERRUPT = "\x89";
const QWORD_ADDRESS_SPACE = "\x8a";

/** ResourceTemplate() { ... }: the buffer a _CRS holds. Its end tag carries checksum 0, which means "not checked". */
export const resourceTemplate = (...resources: readonly Resource[]): Term =>
  buffer((concat(resources) + END_TAG) as ByteString);

/** Memory32Fixed (ReadWrite, ...): a range below 4 GiB (section 6.4.3.4). */
export const memory32Fixed = (base: number, lengthBytes: number): Resource =>
  (MEMORY_32_FIXED + word(9) + byte(READ_WRITE) + dword(base) + dword(lengthBytes)) as Resource;

const DECODE_16 = 1;

/** IO (Decode16, ...): a fixed run of ports (section 6.4.2.5). */
export const ioPorts = (base: number, count: number, alignment: number): Resource =>
  (IO_PORT_DESCRIPTOR + byte(DECODE_16) + word(base) + word(base) + byte(alignment) + byte(count)) as Resource;

const INTERRUPT_CONSUMER = 1 << 0;
const INTERRUPT_EDGE = 1 << 1;

/** Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive): one global system interrupt (section 6.4.3.6). */
export const edgeInterrupt = (gsi: number): Resource =>
  (EXTENDED_INTERRUPT + word(6) + byte(INTERRUPT_CONSUMER | INTERRUPT_EDGE) + byte(1) + dword(gsi)) as Resource;

/** Resource types of the address space descriptors (section 6.4.3.5). */
const RESOURCE_TYPE = { memory: 0, io: 1, busNumber: 2 } as const;
/** General flags: producer, positive decode, minimum and maximum fixed. */
const MIN_FIXED = 1 << 2;
const MAX_FIXED = 1 << 3;
/** Type-specific flags of a memory range (section 6.4.3.5.5). */
const READ_WRITE = 1 << 0;
const CACHEABLE = 1 << 1;
/** Type-specific flags of an I/O range: both ISA and non-ISA ports (section 6.4.3.5.6). */
const ENTIRE_RANGE = 3;

/** A run of addresses both ends of which count. */
export interface AddressRange {
  readonly min: number | bigint;
  readonly max: number | bigint;
}

/** The range of `length` addresses from `base`. */
export const rangeAt = (base: number, length: number): AddressRange => ({ min: base, max: base + length - 1 });

const memoryFlags = (caching: "cacheable" | "uncached"): number =>
  READ_WRITE | (caching === "cacheable" ? CACHEABLE : 0);

const lengthOf = ({ min, max }: AddressRange): number | bigint =>
  typeof min === "number" && typeof max === "number" ? max - min + 1 : BigInt(max) - BigInt(min) + 1n;

/** Granularity, minimum, maximum, translation offset and length, in the width of the descriptor. */
function addressSpace(
  tag: string,
  integer: (value: number | bigint) => ByteString,
  type: keyof typeof RESOURCE_TYPE,
  typeFlags: number,
  range: AddressRange,
): Resource {
  const body =
    byte(RESOURCE_TYPE[type]) +
    byte(MIN_FIXED | MAX_FIXED) +
    byte(typeFlags) +
    integer(0) +
    integer(range.min) +
    integer(range.max) +
    integer(0) +
    integer(lengthOf(range));
  return (tag + word(body.length) + body) as Resource;
}

const dwordOf = (value: number | bigint): ByteString => dword(Number(value));
const wordOf = (value: number | bigint): ByteString => word(Number(value));

/** Offsets of the 64-bit values of a QWordMemory that starts a resource template, for a method that fills them in. */
export const QWORD_MEMORY_OFFSETS = { min: 14, max: 22, length: 38 } as const;

/** QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, caching, ReadWrite, ...). */
export const qwordMemory = (range: AddressRange, caching: "cacheable" | "uncached"): Resource =>
  addressSpace(QWORD_ADDRESS_SPACE, qword, "memory", memoryFlags(caching), range);

/** DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, caching, ReadWrite, ...). */
export const dwordMemory = (range: AddressRange, caching: "cacheable" | "uncached"): Resource =>
  addressSpace(DWORD_ADDRESS_SPACE, dwordOf, "memory", memoryFlags(caching), range);

/** WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, ...). */
export const wordIo = (range: AddressRange): Resource =>
  addressSpace(WORD_ADDRESS_SPACE, wordOf, "io", ENTIRE_RANGE, range);

/** WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, ...). */
export const wordBusNumber = (range: AddressRange): Resource =>
  addressSpace(WORD_ADDRESS_SPACE, wordOf, "busNumber", 0, range);
