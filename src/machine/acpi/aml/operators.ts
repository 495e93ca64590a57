import { byte, concat } from "../../byte-string.ts";
import { integer, type Operand, termOf, termsOf } from "./data.ts";
import { ref } from "./names.ts";
import { sized, type Term } from "./term.ts";

/** Opcodes of ACPI 6.5 section 20.2.5. */
const LOCAL0_OP = 0x60;
const ARG0_OP = 0x68;
const STORE_OP = "\x70";
const ADD_OP = "\x72";
const SUBTRACT_OP = "\x74";
const INCREMENT_OP = "\x75";
const SHIFT_LEFT_OP = "\x79";
const SHIFT_RIGHT_OP = "\x7a";
const AND_OP = "\x7b";
const OR_OP = "\x7d";
const NOTIFY_OP = "\x86";
const CREATE_DWORD_FIELD_OP = "\x8a";
const CREATE_QWORD_FIELD_OP = "\x8f";
const L_AND_OP = "\x90";
const L_OR_OP = "\x91";
const L_NOT_OP = "\x92";
const L_EQUAL_OP = "\x93";
const L_GREATER_OP = "\x94";
const L_LESS_OP = "\x95";
const IF_OP = "\xa0";
const ELSE_OP = "\xa1";
const WHILE_OP = "\xa2";
const RETURN_OP = "\xa4";
const ACQUIRE_OP = "\x5b\x23";
const RELEASE_OP = "\x5b\x27";

/** Acquire() waits for ever. */
const NO_TIMEOUT = "\xff\xff";

function numbered(first: number, count: number, index: number): Term {
  if (!Number.isInteger(index) || index < 0 || index >= count) throw new RangeError(`AML has no variable ${index}`);
  return byte(first + index);
}

/** Arg0 to Arg6. */
export const arg = (index: number): Term => numbered(ARG0_OP, 7, index);
/** Local0 to Local7. */
export const local = (index: number): Term => numbered(LOCAL0_OP, 8, index);

/** The absent target of an expression, whose value is used where it stands; else it is also stored in the target. */
const NO_TARGET = "\x00" as Term;

const expression = (opcode: string, a: Operand, b: Operand, target: Term): Term =>
  (opcode + termOf(a) + termOf(b) + target) as Term;

/** target = value */
export const store = (value: Operand, target: Term): Term => (STORE_OP + termOf(value) + target) as Term;
/** a + b */
export const add = (a: Operand, b: Operand, target = NO_TARGET): Term => expression(ADD_OP, a, b, target);
/** a - b */
export const subtract = (a: Operand, b: Operand, target = NO_TARGET): Term => expression(SUBTRACT_OP, a, b, target);
/** value << bits */
export const shiftLeft = (value: Operand, bits: Operand, target = NO_TARGET): Term =>
  expression(SHIFT_LEFT_OP, value, bits, target);
/** value >> bits */
export const shiftRight = (value: Operand, bits: Operand, target = NO_TARGET): Term =>
  expression(SHIFT_RIGHT_OP, value, bits, target);
/** a & b */
export const and = (a: Operand, b: Operand, target = NO_TARGET): Term => expression(AND_OP, a, b, target);
/** a | b */
export const or = (a: Operand, b: Operand, target = NO_TARGET): Term => expression(OR_OP, a, b, target);
/** target++ */
export const increment = (target: Term): Term => (INCREMENT_OP + target) as Term;

const condition = (opcode: string, a: Operand, b: Operand): Term => (opcode + termOf(a) + termOf(b)) as Term;

/** a && b */
export const logicalAnd = (a: Operand, b: Operand): Term => condition(L_AND_OP, a, b);
/** a || b */
export const logicalOr = (a: Operand, b: Operand): Term => condition(L_OR_OP, a, b);
/** !value */
export const logicalNot = (value: Operand): Term => (L_NOT_OP + termOf(value)) as Term;
/** a == b */
export const equal = (a: Operand, b: Operand): Term => condition(L_EQUAL_OP, a, b);
/** a > b */
export const greater = (a: Operand, b: Operand): Term => condition(L_GREATER_OP, a, b);
/** a < b */
export const less = (a: Operand, b: Operand): Term => condition(L_LESS_OP, a, b);

/** If (test) { ... } */
export const when = (test: Term, ...terms: readonly Term[]): Term => (IF_OP + sized(test + concat(terms))) as Term;
/** Else { ... }: follows the `when` it belongs to. */
export const otherwise = (...terms: readonly Term[]): Term => (ELSE_OP + sized(concat(terms))) as Term;
/** While (test) { ... } */
export const loopWhile = (test: Term, ...terms: readonly Term[]): Term =>
  (WHILE_OP + sized(test + concat(terms))) as Term;
/** Return (value) */
export const returnValue = (value: Operand): Term => (RETURN_OP + termOf(value)) as Term;

/** path (arguments): the method must take exactly as many, since AML does not write their number. */
export const call = (path: string, ...args: readonly Operand[]): Term => (ref(path) + termsOf(args)) as Term;

/** Notify (path, value) */
export const notify = (path: string, value: Operand): Term => (NOTIFY_OP + ref(path) + termOf(value)) as Term;

/** The terms between Acquire and Release of a mutex. None of them may return. */
export function locked(mutexPath: string, ...terms: readonly Term[]): Term {
  const mutex = ref(mutexPath);
  return (ACQUIRE_OP + mutex + NO_TIMEOUT + concat(terms) + RELEASE_OP + mutex) as Term;
}

/** CreateDWordField (source, byteIndex, fieldName) */
export const createDWordField = (source: Term, byteIndex: number, fieldName: string): Term =>
  (CREATE_DWORD_FIELD_OP + source + integer(byteIndex) + ref(fieldName)) as Term;
/** CreateQWordField (source, byteIndex, fieldName) */
export const createQWordField = (source: Term, byteIndex: number, fieldName: string): Term =>
  (CREATE_QWORD_FIELD_OP + source + integer(byteIndex) + ref(fieldName)) as Term;
