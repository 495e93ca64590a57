import { ByteWriter } from "../byte-writer.ts";
import { mixedEndianUuid } from "../uuid.ts";
import { LOW_TABLES_LIMIT, SMBIOS_BASE } from "./platform.ts";

/** What the guest is told of the machine it runs on. Absent and empty strings are "not specified". */
export interface SmbiosInputs {
  /** "Cloud Hypervisor" when left out. */
  readonly systemManufacturer?: string | undefined;
  /** "cloud-hypervisor" when left out. */
  readonly systemProductName?: string | undefined;
  readonly systemVersion?: string | undefined;
  readonly systemSerialNumber?: string | undefined;
  readonly systemSkuNumber?: string | undefined;
  readonly systemFamily?: string | undefined;
  /** Any form `mixedEndianUuid` takes; zero when left out. */
  readonly systemUuid?: string | undefined;
  readonly chassisAssetTag?: string | undefined;
  readonly oemStrings?: readonly string[] | undefined;
}

/** The SMBIOS structures cannot hold what they are to say. */
export class SmbiosError extends Error {
  override readonly name = "SmbiosError";
}

const ENTRY_POINT_BYTES = 0x18;
const ENTRY_POINT_CHECKSUM_OFFSET = 5;

/** Structure types (SMBIOS 3.2 section 7). */
const BIOS_INFORMATION = 0;
const SYSTEM_INFORMATION = 1;
const SYSTEM_ENCLOSURE = 3;
const OEM_STRINGS = 11;
const END_OF_TABLE = 127;

/** BIOS characteristics bit 7 (section 7.1.1) and bit 4 of the second extension byte (section 7.1.2.2). */
const PCI_SUPPORTED = 1 << 7;
const VIRTUAL_MACHINE = 1 << 4;
/** "Unknown" among chassis types, chassis states and wake-up types. */
const UNKNOWN = 2;
const SECURITY_STATUS_NONE = 3;

/** Strings are referred to by one byte, of which 0 means none. */
const MAX_STRINGS = 255;
/** Stands for an empty string where the position counts: an empty one would end the set. */
const EMPTY_STRING = " ";

/**
 * The SMBIOS 3.2 entry point and structures, to be copied to `SMBIOS_BASE`.
 * @throws SmbiosError, UuidError
 */
export function buildSmbios(inputs: SmbiosInputs): Uint8Array {
  const out = new ByteWriter(512);
  out.zeros(ENTRY_POINT_BYTES);
  const table = new StructureWriter(out);

  table.structure(BIOS_INFORMATION, (strings) => {
    out.u8(strings.add("cloud-hypervisor"));
    out.u8(strings.add("0"));
    out.u16(0);
    out.u8(0);
    out.u8(0);
    out.u64(PCI_SUPPORTED);
    out.u8(0);
    out.u8(VIRTUAL_MACHINE);
  });
  table.structure(SYSTEM_INFORMATION, (strings) => {
    out.u8(strings.add(inputs.systemManufacturer ?? "Cloud Hypervisor"));
    out.u8(strings.add(inputs.systemProductName ?? "cloud-hypervisor"));
    out.u8(strings.add(inputs.systemVersion));
    out.u8(strings.add(inputs.systemSerialNumber));
    out.bytes(inputs.systemUuid === undefined ? new Uint8Array(16) : mixedEndianUuid(inputs.systemUuid));
    out.u8(UNKNOWN);
    out.u8(strings.add(inputs.systemSkuNumber));
    out.u8(strings.add(inputs.systemFamily));
  });
  const { chassisAssetTag } = inputs;
  if (chassisAssetTag !== undefined)
    table.structure(SYSTEM_ENCLOSURE, (strings) => {
      out.u8(0);
      out.u8(UNKNOWN);
      out.u8(0);
      out.u8(0);
      out.u8(strings.add(chassisAssetTag));
      out.u8(UNKNOWN);
      out.u8(UNKNOWN);
      out.u8(UNKNOWN);
      out.u8(SECURITY_STATUS_NONE);
      out.u32(0);
      out.zeros(4);
    });
  const { oemStrings } = inputs;
  if (oemStrings !== undefined && oemStrings.length > 0) {
    if (oemStrings.length > MAX_STRINGS)
      throw new SmbiosError(`${oemStrings.length} OEM strings: SMBIOS holds ${MAX_STRINGS}, remove some`);
    table.structure(OEM_STRINGS, (strings) => {
      out.u8(oemStrings.length);
      for (const value of oemStrings) strings.add(value === "" ? EMPTY_STRING : value);
    });
  }
  table.structure(END_OF_TABLE, () => {});

  if (SMBIOS_BASE + out.length > LOW_TABLES_LIMIT)
    throw new SmbiosError(
      `the SMBIOS structures take ${out.length} bytes, ${LOW_TABLES_LIMIT - SMBIOS_BASE} is the most that fits; ` +
        "shorten the strings of --platform",
    );
  writeEntryPoint(out);
  return out.finish();
}

/** The 64-bit entry point (section 5.2.2). */
function writeEntryPoint(out: ByteWriter): void {
  const entry = new ByteWriter(ENTRY_POINT_BYTES);
  entry.ascii("_SM3_");
  entry.u8(0);
  entry.u8(ENTRY_POINT_BYTES);
  entry.bytes([3, 2, 0]);
  entry.u8(1);
  entry.u8(0);
  entry.u32(out.length - ENTRY_POINT_BYTES);
  entry.u64(SMBIOS_BASE + ENTRY_POINT_BYTES);
  entry.setU8(ENTRY_POINT_CHECKSUM_OFFSET, entry.checksum(0));
  out.finish().set(entry.finish());
}

const encoder = new TextEncoder();

/** The strings that follow the formatted part of a structure and are referred to by number, from 1 (section 6.1.3). */
class StringSet {
  readonly encoded: Uint8Array[] = [];

  /** @returns the number of the string, 0 for none */
  add(value: string | undefined): number {
    if (value === undefined || value === "") return 0;
    if (value.includes("\0")) throw new SmbiosError(`${JSON.stringify(value)} contains NUL: remove it`);
    this.encoded.push(encoder.encode(value));
    return this.encoded.length;
  }
}

/** Appends structures (section 6.1.2) with handles counting up from 1. */
class StructureWriter {
  readonly #out: ByteWriter;
  #lastHandle = 0;

  constructor(out: ByteWriter) {
    this.#out = out;
  }

  structure(type: number, formattedPart: (strings: StringSet) => void): void {
    const out = this.#out;
    const start = out.length;
    const strings = new StringSet();
    out.u8(type);
    out.u8(0);
    out.u16(++this.#lastHandle);
    formattedPart(strings);
    out.setU8(start + 1, out.length - start);
    for (const value of strings.encoded) {
      out.bytes(value);
      out.u8(0);
    }
    if (strings.encoded.length === 0) out.u8(0);
    out.u8(0);
  }
}
