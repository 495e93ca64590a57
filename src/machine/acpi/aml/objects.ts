import { byte, concat } from "../../byte-string.ts";
import { type Operand, termOf } from "./data.ts";
import { nameSeg, ref } from "./names.ts";
import { pkgLength, sized, type Term } from "./term.ts";

const NAME_OP = "\x08";
const SCOPE_OP = "\x10";
const METHOD_OP = "\x14";
const MUTEX_OP = "\x5b\x01";
const OP_REGION_OP = "\x5b\x80";
const FIELD_OP = "\x5b\x81";
const DEVICE_OP = "\x5b\x82";
const RESERVED_FIELD = "\x00";
const SYNC_LEVEL_0 = "\x00";

/** Name (path, value) */
export const name = (path: string, value: Operand): Term => (NAME_OP + ref(path) + termOf(value)) as Term;

/** Scope (path) { ... } */
export const scope = (path: string, ...terms: readonly Term[]): Term =>
  (SCOPE_OP + sized(ref(path) + concat(terms))) as Term;

/** Device (path) { ... } */
export const device = (path: string, ...terms: readonly Term[]): Term =>
  (DEVICE_OP + sized(ref(path) + concat(terms))) as Term;

/**
 * Method (path, argumentCount, serialized) { ... } with sync level 0.
 * @param serialized whether one thread at a time may run it, which a method that creates names needs
 * @throws RangeError above the seven arguments AML has
 */
export function method(
  path: string,
  argumentCount: number,
  serialized: "Serialized" | "NotSerialized",
  ...terms: readonly Term[]
): Term {
  if (argumentCount > 7) throw new RangeError(`method ${path} of ${argumentCount} arguments`);
  const flags = byte(argumentCount | (serialized === "Serialized" ? 1 << 3 : 0));
  return (METHOD_OP + sized(ref(path) + flags + concat(terms))) as Term;
}

/** Mutex (path, 0) */
export const mutex = (path: string): Term => (MUTEX_OP + ref(path) + SYNC_LEVEL_0) as Term;

/** RegionSpace (ACPI 6.5 section 20.2.5.2). */
const REGION_SPACE = { SystemMemory: 0, SystemIO: 1 } as const;

/** OperationRegion (path, space, offset, length) */
export const operationRegion = (
  path: string,
  space: keyof typeof REGION_SPACE,
  offset: Operand,
  lengthBytes: Operand,
): Term => (OP_REGION_OP + ref(path) + byte(REGION_SPACE[space]) + termOf(offset) + termOf(lengthBytes)) as Term;

/** FieldFlags: access type in bits 3:0, lock rule in bit 4 (always NoLock here), update rule in bits 6:5. */
const ACCESS_TYPE = { AnyAcc: 0, ByteAcc: 1, WordAcc: 2, DWordAcc: 3, QWordAcc: 4 } as const;
const UPDATE_RULE = { Preserve: 0, WriteAsOnes: 1, WriteAsZeros: 2 } as const;

/** A unit of a field: a name and its bits, or a number of bits to skip. */
export type FieldUnit = readonly [name: string, bits: number] | { readonly skipBits: number };

/** Field (region, access, NoLock, update) { ... } */
export function field(
  region: string,
  access: keyof typeof ACCESS_TYPE,
  update: keyof typeof UPDATE_RULE,
  units: readonly FieldUnit[],
): Term {
  let list = ref(region) + byte(ACCESS_TYPE[access] | (UPDATE_RULE[update] << 5));
  for (const unit of units)
    list += "skipBits" in unit ? RESERVED_FIELD + pkgLength(unit.skipBits) : nameSeg(unit[0]) + pkgLength(unit[1]);
  return (FIELD_OP + sized(list)) as Term;
}
