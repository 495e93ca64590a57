import type { ByteWriter } from "../../byte-writer.ts";
import { OEM_ID } from "../table.ts";

/** Bytes of the RSDP of revision 2. */
export const RSDP_BYTES = 36;
const REVISION = 2;
const XSDT_OFFSET = 24;
/** The first checksum covers the structure of ACPI 1.0, the second one all of it. */
const CHECKSUM_OFFSET = 8;
const CHECKSUM_BYTES = 20;
const EXTENDED_CHECKSUM_OFFSET = 32;

/**
 * Appends the root system description pointer (ACPI 6.5 section 5.2.5.3), which has no RSDT.
 * @returns its offset, for `linkXsdt` once the address of the XSDT is known
 */
export function writeRsdp(out: ByteWriter): number {
  const start = out.length;
  out.ascii("RSD PTR ");
  out.u8(0);
  out.ascii(OEM_ID, 6);
  out.u8(REVISION);
  out.u32(0);
  out.u32(RSDP_BYTES);
  out.u64(0);
  out.u8(0);
  out.zeros(3);
  return start;
}

/** Completes the RSDP at offset `start`: the address of the XSDT and both checksums. */
export function linkXsdt(out: ByteWriter, start: number, xsdtGpa: number): void {
  out.setU64(start + XSDT_OFFSET, xsdtGpa);
  out.setU8(start + CHECKSUM_OFFSET, out.checksum(start, start + CHECKSUM_BYTES));
  out.setU8(start + EXTENDED_CHECKSUM_OFFSET, out.checksum(start, start + RSDP_BYTES));
}
