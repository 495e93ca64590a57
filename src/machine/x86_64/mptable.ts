import { type Gpa, gpa } from "../../memory/address.ts";
import { ByteWriter } from "../byte-writer.ts";
import { IO_APIC_BASE, LOCAL_APIC_BASE, LOW_TABLES_LIMIT, SMBIOS_BASE } from "./platform.ts";

/** Byte-wide APIC IDs end here: 255 addresses all processors, 254 is kept free. */
const APIC_ID_LIMIT = 254;

/** Entry types (MultiProcessor Specification 1.4 table 4-3). */
const PROCESSOR = 0;
const BUS = 1;
const IO_APIC = 2;
const IO_INTERRUPT = 3;
const LOCAL_INTERRUPT = 4;

/** Interrupt types (table 4-11). */
const INT = 0;
const NMI = 1;
const EXT_INT = 3;

const SPECIFICATION_1_4 = 4;
const APIC_VERSION = 0x14;
const CPU_ENABLED = 1 << 0;
const CPU_BOOTSTRAP = 1 << 1;
const CPU_SIGNATURE = 0x600;
/** FPU and on-chip APIC. */
const CPU_FEATURES = 0x201;
const ISA_BUS_ID = 0;
const IO_APIC_ID = 255;
const ISA_INTERRUPTS = 16;
const ALL_LOCAL_APICS = 0xff;

const FLOATING_POINTER_BYTES = 16;
const FLOATING_POINTER_CHECKSUM_OFFSET = 10;
const TABLE_LENGTH_OFFSET = 4;
const TABLE_CHECKSUM_OFFSET = 7;
const ENTRY_COUNT_OFFSET = 34;

/** The MP table and where it belongs in guest memory. */
export interface MpTable {
  readonly base: Gpa;
  readonly bytes: Uint8Array;
}

/**
 * The MP floating pointer structure and configuration table (MultiProcessor Specification 1.4 chapter 4), on the next
 * 16-byte boundary after SMBIOS.
 * @param bootCpus vCPUs present at boot
 * @param apicIds of every vCPU there can be, by index
 * @param smbiosBytes length of what lies at `SMBIOS_BASE`
 * @returns undefined where the machine has none: an APIC ID does not fit a byte, or no room is left below 1 MiB
 */
export function buildMpTable(bootCpus: number, apicIds: ArrayLike<number>, smbiosBytes: number): MpTable | undefined {
  for (let i = 0; i < apicIds.length; i++) if ((apicIds[i] ?? 0) >= APIC_ID_LIMIT) return undefined;

  const base = gpa((SMBIOS_BASE + smbiosBytes + 16) & ~15);
  const out = new ByteWriter(512 + 20 * bootCpus);
  floatingPointer(out, base + FLOATING_POINTER_BYTES);
  configurationTable(out, bootCpus, apicIds);
  if (base + out.length > LOW_TABLES_LIMIT) return undefined;
  return { base, bytes: out.finish() };
}

/** Section 4.1. */
function floatingPointer(out: ByteWriter, tableGpa: number): void {
  const start = out.length;
  out.ascii("_MP_");
  out.u32(tableGpa);
  out.u8(FLOATING_POINTER_BYTES / 16);
  out.u8(SPECIFICATION_1_4);
  out.u8(0);
  out.zeros(5);
  out.setU8(start + FLOATING_POINTER_CHECKSUM_OFFSET, out.checksum(start));
}

/** Sections 4.2 and 4.3. */
function configurationTable(out: ByteWriter, bootCpus: number, apicIds: ArrayLike<number>): void {
  const start = out.length;
  out.ascii("PCMP");
  out.u16(0);
  out.u8(SPECIFICATION_1_4);
  out.u8(0);
  out.ascii("FC", 8);
  out.ascii("000000000000");
  out.u32(0);
  out.u16(0);
  out.u16(0);
  out.u32(LOCAL_APIC_BASE);
  out.u32(0);

  for (let index = 0; index < bootCpus; index++)
    processor(out, apicIds[index] ?? index, CPU_ENABLED | (index === 0 ? CPU_BOOTSTRAP : 0));
  out.u8(BUS);
  out.u8(ISA_BUS_ID);
  out.ascii("ISA", 6);
  out.u8(IO_APIC);
  out.u8(IO_APIC_ID);
  out.u8(APIC_VERSION);
  out.u8(1);
  out.u32(IO_APIC_BASE);
  for (let irq = 0; irq < ISA_INTERRUPTS; irq++) interrupt(out, IO_INTERRUPT, INT, irq, IO_APIC_ID, irq);
  interrupt(out, LOCAL_INTERRUPT, EXT_INT, 0, 0, 0);
  interrupt(out, LOCAL_INTERRUPT, NMI, 0, ALL_LOCAL_APICS, 1);

  out.setU16(start + TABLE_LENGTH_OFFSET, out.length - start);
  out.setU16(start + ENTRY_COUNT_OFFSET, bootCpus + 2 + ISA_INTERRUPTS + 2);
  out.setU8(start + TABLE_CHECKSUM_OFFSET, out.checksum(start));
}

/** Section 4.3.1. */
function processor(out: ByteWriter, apicId: number, flags: number): void {
  out.u8(PROCESSOR);
  out.u8(apicId);
  out.u8(APIC_VERSION);
  out.u8(flags);
  out.u32(CPU_SIGNATURE);
  out.u32(CPU_FEATURES);
  out.zeros(8);
}

/** Sections 4.3.4 and 4.3.5: polarity and trigger mode are the bus's own. */
function interrupt(out: ByteWriter, entry: number, type: number, irq: number, apicId: number, pin: number): void {
  out.u8(entry);
  out.u8(type);
  out.u16(0);
  out.u8(ISA_BUS_ID);
  out.u8(irq);
  out.u8(apicId);
  out.u8(pin);
}
