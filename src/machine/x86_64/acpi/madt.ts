import { writeMadt } from "../../acpi/tables/madt.ts";
import { type ByteString, byte, concat, concatEach, dword, word } from "../../byte-string.ts";
import type { ByteWriter } from "../../byte-writer.ts";
import { GSI, IO_APIC_BASE, LOCAL_APIC_BASE } from "../platform.ts";

const IO_APIC = 1;
const INTERRUPT_SOURCE_OVERRIDE = 2;
const LOCAL_X2APIC = 9;

const ENABLED = 1 << 0;
const ONLINE_CAPABLE = 1 << 1;

/** A processor local x2APIC structure (ACPI 6.5 section 5.2.12.12). */
const localX2Apic = (index: number, apicId: number, flags: number): ByteString =>
  concat([byte(LOCAL_X2APIC), byte(16), word(0), dword(apicId), dword(flags), dword(index)]);

/** The `_MAT` of a CPU object (section 6.2.10): the x2APIC structure it has once it is there. */
export const presentX2Apic = (index: number, apicId: number): ByteString => localX2Apic(index, apicId, ENABLED);

/** Section 5.2.12.3. */
function ioApic(out: ByteWriter): void {
  out.u8(IO_APIC);
  out.u8(12);
  out.u8(0);
  out.u8(0);
  out.u32(IO_APIC_BASE);
  out.u32(0);
}

/** Section 5.2.12.5: the ISA interrupt of the serial port is the GSI of the same number, with the bus's own polarity. */
function serialInterruptOverride(out: ByteWriter): void {
  out.u8(INTERRUPT_SOURCE_OVERRIDE);
  out.u8(10);
  out.u8(0);
  out.u8(GSI.serial);
  out.u32(GSI.serial);
  out.u16(0);
}

/** Appends the MADT: every vCPU there can be, the I/O APIC and the override of the serial interrupt. @returns its offset */
export const writeX86Madt = (out: ByteWriter, bootCpus: number, apicIds: ArrayLike<number>): number =>
  writeMadt(out, {
    localApicBase: LOCAL_APIC_BASE,
    controllers: (body) => {
      body.byteString(
        concatEach(apicIds.length, (index) =>
          localX2Apic(index, apicIds[index] ?? index, ONLINE_CAPABLE | (index < bootCpus ? ENABLED : 0)),
        ),
      );
      ioApic(body);
      serialInterruptOverride(body);
    },
  });
