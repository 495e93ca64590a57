import type { ByteWriter } from "../byte-writer.ts";

/** What the common header (ACPI 6.5 section 5.2.6) says of one table. */
export interface TableIdentity {
  /** Four characters. */
  readonly signature: string;
  /** At most eight characters. */
  readonly oemTableId: string;
  readonly revision: number;
  /** 1 when left out. */
  readonly oemRevision?: number;
}

/** Bytes of the common header. */
export const TABLE_HEADER_BYTES = 36;
export const OEM_ID = "CLOUDH";
const LENGTH_OFFSET = 4;
const CHECKSUM_OFFSET = 9;
const CREATOR_ID = "RVAT";
const CREATOR_REVISION = [0, 0, 0, 1];

/**
 * Appends a table: the common header, what `body` writes after it, then length and checksum filled in.
 * @returns the offset of the table in `out`
 */
export function writeTable(out: ByteWriter, identity: TableIdentity, body: (out: ByteWriter) => void): number {
  const start = out.length;
  out.ascii(identity.signature, 4);
  out.u32(0);
  out.u8(identity.revision);
  out.u8(0);
  out.ascii(OEM_ID, 6);
  out.ascii(identity.oemTableId, 8);
  out.u32(identity.oemRevision ?? 1);
  out.ascii(CREATOR_ID, 4);
  out.bytes(CREATOR_REVISION);
  body(out);
  out.setU32(start + LENGTH_OFFSET, out.length - start);
  out.setU8(start + CHECKSUM_OFFSET, out.checksum(start));
  return start;
}
