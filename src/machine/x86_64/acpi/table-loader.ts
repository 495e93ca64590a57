import { RSDP_BYTES } from "../../acpi/tables/rsdp.ts";
import { ByteWriter } from "../../byte-writer.ts";
import { viewOf } from "../loader/image-bytes.ts";
import type { AcpiTables } from "./tables.ts";

/** The files that firmware builds the tables from. */
export const RSDP_FILE = "acpi/rsdp";
export const TABLES_FILE = "acpi/tables";

/** Commands of 128 bytes, little-endian; file names in 56 bytes (QEMU, hw/acpi/bios-linker-loader.c). */
const Command = { ALLOCATE: 1, ADD_POINTER: 2, ADD_CHECKSUM: 3 } as const;
const COMMAND_BYTES = 128;
const NAME_BYTES = 56;
const Zone = { HIGH: 1, FSEG: 2 } as const;
const FILE_ALIGN = 4;
const POINTER_BYTES = 8;

const CHECKSUM_OFFSET = 9;
const HEADER_BYTES = 36;
const X_DSDT_OFFSET = 140;
const RSDP_XSDT_OFFSET = 24;
const RSDP_CHECKSUMS = [
  { at: 8, length: 20 },
  { at: 32, length: RSDP_BYTES },
];

/** The ACPI tables for firmware that places them itself. */
export interface LoadableTables {
  readonly rsdp: Uint8Array;
  readonly tables: Uint8Array;
  /** The commands that make them whole. */
  readonly loader: Uint8Array;
}

/** Makes tables that have their place into such that are yet to get one: pointers become offsets, checksums are left open. */
export function loadableTables({ base, bytes, tables: list }: AcpiTables): LoadableTables {
  const rsdp = bytes.slice(0, RSDP_BYTES);
  const tables = bytes.slice(RSDP_BYTES);
  const out = new ByteWriter(COMMAND_BYTES * (2 * list.length + 8));
  const origin = base + RSDP_BYTES;
  allocate(out, RSDP_FILE, Zone.FSEG);
  allocate(out, TABLES_FILE, Zone.HIGH);
  const pointer = (file: string, view: DataView, at: number): void => {
    view.setBigUint64(at, view.getBigUint64(at, true) - BigInt(origin), true);
    addPointer(out, file, at);
  };
  const view = viewOf(tables);
  for (const { signature, offset, length } of list) {
    if (signature === "DSDT") continue;
    const start = offset - RSDP_BYTES;
    if (signature === "FACP") pointer(TABLES_FILE, view, start + X_DSDT_OFFSET);
    if (signature === "XSDT")
      for (let at = start + HEADER_BYTES; at < start + length; at += POINTER_BYTES) pointer(TABLES_FILE, view, at);
    tables[start + CHECKSUM_OFFSET] = 0;
    addChecksum(out, TABLES_FILE, start + CHECKSUM_OFFSET, start, length);
  }
  pointer(RSDP_FILE, viewOf(rsdp), RSDP_XSDT_OFFSET);
  for (const { at, length } of RSDP_CHECKSUMS) {
    rsdp[at] = 0;
    addChecksum(out, RSDP_FILE, at, 0, length);
  }
  return { rsdp, tables, loader: out.finish() };
}

function command(out: ByteWriter, code: number, body: () => void): void {
  const start = out.length;
  out.u32(code);
  body();
  out.zeros(start + COMMAND_BYTES - out.length);
}

const allocate = (out: ByteWriter, file: string, zone: number): void =>
  command(out, Command.ALLOCATE, () => {
    out.ascii(file, NAME_BYTES, "\0");
    out.u32(FILE_ALIGN);
    out.u8(zone);
  });

/** The pointer at `offset` of `file` is to have the address of the tables added. */
const addPointer = (out: ByteWriter, file: string, offset: number): void =>
  command(out, Command.ADD_POINTER, () => {
    out.ascii(file, NAME_BYTES, "\0");
    out.ascii(TABLES_FILE, NAME_BYTES, "\0");
    out.u32(offset);
    out.u8(POINTER_BYTES);
  });

const addChecksum = (out: ByteWriter, file: string, at: number, start: number, length: number): void =>
  command(out, Command.ADD_CHECKSUM, () => {
    out.ascii(file, NAME_BYTES, "\0");
    out.u32(at);
    out.u32(start);
    out.u32(length);
  });
