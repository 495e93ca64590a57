/** Redirection format bit of an MSI address: 0 for compatibility format (Intel SDM volume 3, 11.11.1). */
const REMAPPABLE = 0x10;
/** Bits 11:5 of the address, where a guest puts destination bits 14:8 (KVM_FEATURE_MSI_EXT_DEST_ID). */
const EXTENDED_DESTINATION = 0xfe0;

/**
 * The low half of an MSI address as the hypervisor takes it: without the extended destination, which `msiAddressHi` moves
 * to where KVM wants it (KVM_X2APIC_API_USE_32BIT_IDS).
 */
export function msiAddressLo(lo: number, hi: number): number {
  return (isExtended(lo, hi) ? lo & ~EXTENDED_DESTINATION : lo) >>> 0;
}

/** The high half of the same address: destination bits 31:8. */
export function msiAddressHi(lo: number, hi: number): number {
  return (isExtended(lo, hi) ? (lo & EXTENDED_DESTINATION) << 3 : hi) >>> 0;
}

function isExtended(lo: number, hi: number): boolean {
  return hi === 0 && (lo & REMAPPABLE) === 0;
}
