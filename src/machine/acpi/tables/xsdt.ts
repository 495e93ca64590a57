import type { ByteWriter } from "../../byte-writer.ts";
import { writeTable } from "../table.ts";

/**
 * Appends the extended system description table (ACPI 6.5 section 5.2.8).
 * @param tables guest physical addresses of the tables it lists
 * @returns its offset
 */
export const writeXsdt = (out: ByteWriter, tables: readonly number[]): number =>
  writeTable(out, { signature: "XSDT", oemTableId: "CHXSDT", revision: 1 }, (body) => {
    for (const table of tables) body.u64(table);
  });
