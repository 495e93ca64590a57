import type { ByteWriter } from "../../byte-writer.ts";
import { writeTable } from "../table.ts";
import type { PciSegment } from "../topology.ts";

/** Appends the configuration space description (PCI Firmware 3.3 section 4.1.2): bus 0 of each segment. @returns its offset */
export const writeMcfg = (out: ByteWriter, segments: readonly PciSegment[]): number =>
  writeTable(out, { signature: "MCFG", oemTableId: "CHMCFG", revision: 1 }, (body) => {
    body.zeros(8);
    for (const [number, segment] of segments.entries()) {
      body.u64(segment.ecamBase);
      body.u16(number);
      body.u8(0);
      body.u8(0);
      body.zeros(4);
    }
  });
