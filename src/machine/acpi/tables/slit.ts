import type { ByteWriter } from "../../byte-writer.ts";
import { byNodeId, type NumaNode, nodeDistance } from "../numa.ts";
import { writeTable } from "../table.ts";

/** Appends the system locality distance information table (ACPI 6.5 section 5.2.17). @returns its offset */
export const writeSlit = (out: ByteWriter, nodes: readonly NumaNode[]): number =>
  writeTable(out, { signature: "SLIT", oemTableId: "CHSLIT", revision: 1 }, (body) => {
    const ordered = byNodeId(nodes);
    body.u64(ordered.length);
    for (const from of ordered) for (const to of ordered) body.u8(nodeDistance(from, to));
  });
