import type { ByteWriter } from "../../byte-writer.ts";
import { writeTable } from "../table.ts";

const REVISION = 5;

export interface MadtFields {
  /** Where each processor finds its local APIC; 0 without one. */
  readonly localApicBase: number;
  /** Appends the interrupt controller structures (section 5.2.12). */
  readonly controllers: (out: ByteWriter) => void;
}

/** Appends the multiple APIC description table (ACPI 6.5 section 5.2.12), with no flags: there is no dual 8259. @returns its offset */
export const writeMadt = (out: ByteWriter, { localApicBase, controllers }: MadtFields): number =>
  writeTable(out, { signature: "APIC", oemTableId: "CHMADT", revision: REVISION }, (body) => {
    body.u32(localApicBase);
    body.u32(0);
    controllers(body);
  });
