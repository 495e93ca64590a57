import type { ByteWriter } from "../../byte-writer.ts";
import { writeTable } from "../table.ts";

const PLATFORM_CLASS_CLIENT = 0;
/** The control area of a command response buffer interface lies this far into its registers. */
const CONTROL_AREA_OFFSET = 0x40;
const START_METHOD_CRB = 7;

/** Appends the TPM 2.0 table (TCG ACPI Specification 1.2 section 8). @returns its offset */
export const writeTpm2 = (out: ByteWriter, tpmBase: number): number =>
  writeTable(out, { signature: "TPM2", oemTableId: "CHTPM2", revision: 3 }, (body) => {
    body.u16(PLATFORM_CLASS_CLIENT);
    body.u16(0);
    body.u64(tpmBase + CONTROL_AREA_OFFSET);
    body.u32(START_METHOD_CRB);
  });
