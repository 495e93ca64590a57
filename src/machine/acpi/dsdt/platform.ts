import type { Gpa } from "../../../memory/address.ts";
import { eisaId, packageOf, text } from "../aml/data.ts";
import { device, name } from "../aml/objects.ts";
import { memory32Fixed, resourceTemplate } from "../aml/resources.ts";
import type { Term } from "../aml/term.ts";
import { ECAM_BYTES_PER_BUS, type PciSegment } from "../topology.ts";

/** `\_SB_.MBRD`: reserves the configuration space of every segment, as PCI Firmware 3.3 section 4.1.2 asks. */
export const motherboardResources = (segments: readonly PciSegment[]): Term =>
  device(
    "\\_SB_.MBRD",
    name("_HID", eisaId("PNP0C02")),
    name("_UID", 0),
    name("_CRS", resourceTemplate(...segments.map(({ ecamBase }) => memory32Fixed(ecamBase, ECAM_BYTES_PER_BUS)))),
  );

/** The sleep type that turns the machine off, for `\_S5_` and the sleep control register. */
export const SOFT_OFF_SLEEP_TYPE = 5;

/** `\_S5_`: the sleep types of soft off (ACPI 6.5 section 7.4.2.6). */
export const softOff = (): Term => name("\\_S5_", packageOf(SOFT_OFF_SLEEP_TYPE, SOFT_OFF_SLEEP_TYPE, 0, 0));

/** `\_SB_.PWRB`: the power button, whose presses arrive by Notify (section 4.8.2.2.1.2). */
export const powerButton = (): Term => device("\\_SB_.PWRB", name("_HID", eisaId("PNP0C0C")), name("_UID", 0));

/** `_STA`: present, enabled, shown and functioning. */
const PRESENT = 0x0f;
/** Bytes of the registers of a TPM's locality 0. */
const TPM_BYTES = 0x1000;

/** `\TPM2`: the TPM 2.0 behind the command response buffer at `base`. */
export const tpmDevice = (base: Gpa): Term =>
  device(
    "\\TPM2",
    name("_HID", text("MSFT0101")),
    name("_STA", PRESENT),
    name("_CRS", resourceTemplate(memory32Fixed(base, TPM_BYTES))),
  );
