import { describe, expect, test } from "bun:test";
import {
  buffer,
  eisaId,
  integer,
  packageOf,
  packageOfEach,
  text,
  toUuid,
} from "../../../../src/machine/acpi/aml/data.ts";
import { nameSeg, ref } from "../../../../src/machine/acpi/aml/names.ts";
import {
  device,
  field,
  method,
  mutex,
  name,
  operationRegion,
  scope,
} from "../../../../src/machine/acpi/aml/objects.ts";
import {
  add,
  and,
  arg,
  call,
  createDWordField,
  createQWordField,
  equal,
  greater,
  increment,
  less,
  local,
  locked,
  logicalAnd,
  logicalNot,
  logicalOr,
  loopWhile,
  notify,
  or,
  otherwise,
  returnValue,
  shiftLeft,
  shiftRight,
  store,
  subtract,
  when,
} from "../../../../src/machine/acpi/aml/operators.ts";
import {
  dwordMemory,
  edgeInterrupt,
  ioPorts,
  memory32Fixed,
  qwordMemory,
  rangeAt,
  resourceTemplate,
  wordBusNumber,
  wordIo,
} from "../../../../src/machine/acpi/aml/resources.ts";
import { pkgLength, sized, type Term } from "../../../../src/machine/acpi/aml/term.ts";
import { writeTable } from "../../../../src/machine/acpi/table.ts";
import { byte, bytesOf, concat } from "../../../../src/machine/byte-string.ts";
import { ByteWriter } from "../../../../src/machine/byte-writer.ts";
import { interpreter, roundTrip } from "./acpica.ts";

const hex = (term: Term): string => Buffer.from(term, "latin1").toString("hex");

describe("PkgLength", () => {
  test("takes the fewest bytes", () => {
    expect(hex(pkgLength(0))).toBe("00");
    expect(hex(pkgLength(0x3f))).toBe("3f");
    expect(hex(pkgLength(0x40))).toBe("4004");
    expect(hex(pkgLength(0xfff))).toBe("4fff");
    expect(hex(pkgLength(0x1000))).toBe("800001");
    expect(hex(pkgLength(0xf_ffff))).toBe("8fffff");
    expect(hex(pkgLength(0x10_0000))).toBe("c0000001");
    expect(hex(pkgLength(0xfff_ffff))).toBe("cfffffff");
    expect(() => pkgLength(0x1000_0000)).toThrow(RangeError);
  });

  test("counts itself, whatever its width", () => {
    for (const content of [0, 1, 62, 63, 64, 4093, 4094, 4095, 1_048_572, 1_048_573, 1_048_574]) {
      const encoded = sized("x".repeat(content));
      const width = encoded.length - content;
      const lead = encoded.charCodeAt(0);
      let value = width === 1 ? lead & 0x3f : lead & 0xf;
      for (let i = 1; i < width; i++) value += encoded.charCodeAt(i) * 2 ** (8 * i - 4);
      expect(lead >> 6).toBe(width - 1);
      expect(value).toBe(encoded.length);
      const narrower = [0, 63, 4095, 1_048_575][width - 1] ?? 0;
      if (width > 1) expect(content + width - 1).toBeGreaterThan(narrower);
    }
  });
});

describe("names", () => {
  test("are padded, prefixed and joined", () => {
    expect(ref("_HID")).toBe("_HID" as Term);
    expect(ref("S5")).toBe("S5__" as Term);
    expect(ref("\\_S5_")).toBe("\\_S5_" as Term);
    expect(hex(ref("\\"))).toBe("5c00");
    expect(hex(ref("^^"))).toBe("5e5e00");
    expect(ref("^ABCD")).toBe("^ABCD" as Term);
    expect(ref("ABCD.EFGH")).toBe(".ABCDEFGH" as Term);
    expect(ref("\\_SB_.PHPR.PCEJ")).toBe("\\/\x03_SB_PHPRPCEJ" as Term);
  });

  test("must be names", () => {
    for (const path of ["", "abcd", "1ABC", "ABCDE", "AB-D", "\\.ABCD", "ABCD.", "A.B..C", "Ä", "\\^ABCD"])
      expect(() => ref(path)).toThrow(RangeError);
    expect(() => nameSeg("")).toThrow(RangeError);
  });
});

describe("data", () => {
  test("integers take their shortest form", () => {
    expect(hex(integer(0))).toBe("00");
    expect(hex(integer(1))).toBe("01");
    expect(hex(integer(2))).toBe("0a02");
    expect(hex(integer(0xff))).toBe("0aff");
    expect(hex(integer(0x100))).toBe("0b0001");
    expect(hex(integer(0xffff))).toBe("0bffff");
    expect(hex(integer(0x1_0000))).toBe("0c00000100");
    expect(hex(integer(0xffff_ffff))).toBe("0cffffffff");
    expect(hex(integer(0x1_0000_0000))).toBe("0e0000000001000000");
    expect(hex(integer(0xffff_ffff_ffff_ffffn))).toBe("0effffffffffffffff");
    for (const value of [-1, 0.5, 2 ** 53, -1n]) expect(() => integer(value)).toThrow(RangeError);
  });

  test("strings end with NUL and are ASCII", () => {
    expect(hex(text("ab"))).toBe("0d616200");
    expect(() => text("a\0b")).toThrow(RangeError);
    expect(() => text("é")).toThrow(RangeError);
  });

  test("buffers, packages, EISA IDs, UUIDs", () => {
    expect(hex(buffer(bytesOf([1, 2])))).toBe("11050a020102");
    expect(hex(buffer(bytesOf([])))).toBe("110200");
    expect(hex(packageOf(5, 5, 0, 0))).toBe("1208040a050a050000");
    expect(() => packageOfEach(256, byte(0))).toThrow(RangeError);
    expect(hex(eisaId("PNP0A08"))).toBe("0c41d00a08");
    for (const id of ["PNP0A0", "PNP0A088", "pnp0A08", "PN00A08", "PNP0A0G", ""])
      expect(() => eisaId(id)).toThrow(RangeError);
    expect(hex(toUuid("E5C937D0-3553-4D7A-9117-EA4D19C3434D"))).toBe("11130a10d037c9e553357a4d9117ea4d19c3434d");
  });

  test("variables have their numbers", () => {
    expect(hex(concat([arg(0), arg(6), local(0), local(7)]))).toBe("686e6067");
    expect(() => arg(7)).toThrow(RangeError);
    expect(() => local(8)).toThrow(RangeError);
    expect(() => local(0.5)).toThrow(RangeError);
    expect(() => method("M", 8, "Serialized")).toThrow(RangeError);
  });
});

describe("resources", () => {
  test("hold their descriptors and an end tag", () => {
    expect(hex(resourceTemplate(memory32Fixed(0xfed4_0000, 0x1000)))).toBe(
      "11110a0e" + "860900010000d4fe00100000" + "7900",
    );
    expect(hex(ioPorts(0xcf8, 8, 1))).toBe("4701f80cf80c0108");
    expect(hex(edgeInterrupt(13))).toBe("89060003010d000000");
    expect(hex(wordBusNumber({ min: 0, max: 0 }))).toBe("880d00020c00" + "00000000000000000100");
    expect(hex(wordIo({ min: 0, max: 0xcf7 }))).toBe("880d00010c03" + "00000000f70c0000f80c");
    expect(hex(dwordMemory(rangeAt(0xc000_0000, 0x1000), "cacheable"))).toBe(
      "871700000c03" + "00000000" + "000000c0" + "ff0f00c0" + "00000000" + "00100000",
    );
    expect(hex(qwordMemory({ min: 0n, max: 0xffff_ffff_ffff_fffen }, "uncached"))).toBe(
      `8a2b00000c01${"00".repeat(16)}feffffffffffffff${"00".repeat(8)}ffffffffffffffff`,
    );
  });

  test("must fit their descriptor", () => {
    expect(() => memory32Fixed(0x1_0000_0000, 0x1000)).toThrow(RangeError);
    expect(() => wordIo({ min: 0, max: 0x1_0000 })).toThrow(RangeError);
    expect(() => qwordMemory({ min: 1, max: 0 - 1 }, "uncached")).toThrow(RangeError);
    expect(() => ioPorts(0, 256, 1)).toThrow(RangeError);
  });
});

/** A DSDT that uses every operator. */
function operatorsTable(): Uint8Array {
  const out = new ByteWriter();
  const calculate = method(
    "CALC",
    2,
    "NotSerialized",
    add(arg(0), arg(1), local(0)),
    subtract(local(0), 1, local(1)),
    or(shiftLeft(local(1), 4), and(local(0), 0xf), local(2)),
    increment(local(2)),
    returnValue(shiftRight(local(2), 1)),
  );
  const judge = method(
    "JUDG",
    2,
    "NotSerialized",
    when(logicalAnd(greater(arg(0), 5), less(arg(1), 5)), returnValue(1)),
    when(logicalOr(equal(arg(0), 3), logicalNot(arg(1))), returnValue(2)),
    otherwise(returnValue(3)),
  );
  const count = method(
    "CONT",
    1,
    "NotSerialized",
    store(0, local(0)),
    loopWhile(less(local(0), arg(0)), increment(local(0)), increment(ref("TOTL"))),
    returnValue(ref("TOTL")),
  );
  const fields = method(
    "FLDS",
    0,
    "Serialized",
    store(buffer(bytesOf([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])), local(0)),
    createDWordField(local(0), 0, "LOWW"),
    createQWordField(local(0), 4, "HIGH"),
    store(0x1122_3344, ref("LOWW")),
    store(integer(0x1122_3344_5566_7788n), ref("HIGH")),
    returnValue(local(0)),
  );
  writeTable(out, { signature: "DSDT", oemTableId: "TEST", revision: 2 }, (body) =>
    body.byteString(
      concat([
        scope(
          "\\_SB_",
          device(
            "TEST",
            name("_HID", text("TEST0001")),
            name("TOTL", 100),
            mutex("MTX0"),
            operationRegion("PORT", "SystemIO", 0x80, 4),
            field("PORT", "WordAcc", "WriteAsOnes", [["LOW_", 4], { skipBits: 4 }, ["BYTE", 8], ["LONG", 16]]),
            calculate,
            judge,
            count,
            fields,
            method("GUAR", 0, "Serialized", locked("MTX0", notify("TEST", 0x81)), returnValue(call("CALC", 3, 4))),
          ),
        ),
      ]),
    ),
  );
  return out.finish();
}

describe("operators", () => {
  test("mean the same to iasl", async () => {
    const table = operatorsTable();
    const { source, complaints, recompiled } = await roundTrip(table);
    expect(complaints).toEqual([]);
    expect(recompiled?.subarray(36).toHex()).toBe(table.subarray(36).toHex());
    const asl = source.replaceAll(/\s+/g, " ");
    for (const expected of [
      "Scope (\\_SB) { Device (TEST)",
      "OperationRegion (PORT, SystemIO, 0x80, 0x04)",
      "Field (PORT, WordAcc, NoLock, WriteAsOnes) { LOW, 4, Offset (0x01), BYTE, 8, LONG, 16 }",
      "Local0 = (Arg0 + Arg1)",
      "Local1 = (Local0 - One)",
      "Local2 = ((Local1 << 0x04) | (Local0 & 0x0F))",
      "Local2++",
      "Return ((Local2 >> One))",
      "If (((Arg0 > 0x05) && (Arg1 < 0x05)))",
      "If (((Arg0 == 0x03) || !Arg1)) { Return (0x02) } Else { Return (0x03) }",
      "While ((Local0 < Arg0))",
      "Acquire (MTX0, 0xFFFF) Notify (TEST, 0x81)",
      "Release (MTX0)",
    ])
      expect(asl).toContain(expected);
  });

  test("compute in ACPICA's interpreter", async () => {
    const answers = await interpreter(operatorsTable()).evaluate(
      "\\_SB.TEST.CALC 3 4",
      "\\_SB.TEST.JUDG 6 4",
      "\\_SB.TEST.JUDG 3 9",
      "\\_SB.TEST.JUDG 9 0",
      "\\_SB.TEST.JUDG 4 9",
      "\\_SB.TEST.CONT 7",
      "\\_SB.TEST.GUAR",
      "\\_SB.TEST.FLDS",
    );
    const values = answers.map((answer) => /\[Integer\] = ([0-9A-F]+)/.exec(answer)?.[1]);
    // ((3 + 4 - 1) << 4 | 7) + 1 = 0x68, halved.
    expect(values.slice(0, 7).map((digits = "") => Number.parseInt(digits, 16))).toEqual([0x34, 1, 2, 1, 3, 107, 0x34]);
    expect(answers[7]).toContain("44 33 22 11 88 77 66 55 44 33 22 11");
  });
});
