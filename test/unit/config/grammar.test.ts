import { describe, expect, test } from "bun:test";
import { parseIp, parseMac } from "../../../src/config/grammar/addresses.ts";
import {
  ConversionError,
  Expected,
  MissingKeyError,
  OptionSyntaxError,
  UnknownKeyError,
} from "../../../src/config/grammar/errors.ts";
import {
  I32,
  parseInteger,
  parseIntegerList,
  parseSize,
  U8,
  U16,
  U32,
  U64,
} from "../../../src/config/grammar/integers.ts";
import { parsePairs, parseStringList } from "../../../src/config/grammar/lists.ts";
import { splitAtCommas, unquote } from "../../../src/config/grammar/text.ts";
import { givenKeys, objectSchema, optional } from "../../../src/config/schema/object-schema.ts";
import { bool, oneOf, string } from "../../../src/config/schema/value-types.ts";

/** Runs `parse` on each text and expects the value, or an `Expected` for `fails`. */
function table<T>(parse: (text: string) => T, good: readonly (readonly [string, T])[], bad: readonly string[]): void {
  for (const [text, value] of good) test(`'${text}' is read`, () => expect(parse(text)).toEqual(value));
  for (const text of bad) test(`'${text}' is refused`, () => expect(() => parse(text)).toThrow(Expected));
}

describe("splitting into items", () => {
  const good: readonly (readonly [string, readonly string[]])[] = [
    ["a=1,b=2", ["a=1", "b=2"]],
    ['a="1,2",b=3', ['a="1,2"', "b=3"]],
    ["a=[1,2],b=3", ["a=[1,2]", "b=3"]],
    ["a=[1@[2,3],4],b", ["a=[1@[2,3],4]", "b"]],
    ['a="[",b=2', ['a="["', "b=2"]],
    ["a=<1,2>", ["a=<1", "2>"]],
    ["a=(1,2)", ["a=(1", "2)"]],
    ["a={1,2}", ["a={1", "2}"]],
    ["a='1,2'", ["a='1", "2'"]],
    ['a=\\"1,2"', ['a=\\"1,2"']],
    ["a,", ["a", ""]],
    ["", [""]],
  ];
  for (const [text, items] of good) test(text, () => expect(splitAtCommas(text)).toEqual([...items]));

  for (const text of ["a=]", "a=[1", 'a="1', "a=[1]],b", 'a=["]', "a=][", "[[1]"])
    test(`${text} is out of balance`, () => {
      expect(() => splitAtCommas(text)).toThrow(OptionSyntaxError);
      expect(() => splitAtCommas(text)).toThrow(text);
    });
});

describe("unquoting", () => {
  for (const [text, result] of [
    ["plain", "plain"],
    ['ab"c,d"e', "abc,de"],
    ['"x""y"', 'x"y'],
    ['""""', '"'],
    ['""', ""],
    ['" x "', " x "],
    ['a""b', "ab"],
    ['""""""', '""'],
  ] as const)
    test(text, () => expect(unquote(text)).toBe(result));
});

describe("integers", () => {
  describe("u8", () =>
    table(
      (text) => parseInteger(text, U8),
      [
        ["0", 0],
        ["255", 255],
        ["+7", 7],
        ["007", 7],
        ["+0000000000000000000000000000042", 42],
        ['"12"', 12],
      ],
      ["256", "-1", "-0", "0x1", "1_0", "1K", "1.5", "", '""', "+", " 1", "++1", "1e1", "99999999999999999999999999"],
    ));
  describe("i32", () =>
    table(
      (text) => parseInteger(text, I32),
      [
        ["-1", -1],
        ["-2147483648", -2147483648],
        ["+2147483647", 2147483647],
        ["-0", 0],
      ],
      ["2147483648", "-2147483649", "--1", "-+1", "-", "-x"],
    ));
  describe("u64", () =>
    table(
      (text) => parseInteger(text, U64),
      [
        ["9007199254740993", 9007199254740992],
        // Rounded towards zero: the nearest double would be 2^64, which is no u64.
        ["18446744073709551615", 2 ** 64 - 2 ** 11],
      ],
      ["18446744073709551616", "-1"],
    ));
});

describe("sizes", () =>
  table(
    parseSize,
    [
      ["0", 0],
      ["1", 1],
      ["+1K", 1024],
      ["512M", 512 * 2 ** 20],
      ["4G", 4 * 2 ** 30],
      ["1GK", 1024],
      ["1KG", 2 ** 30],
      ["1KKKM", 2 ** 20],
      ['"2M"', 2 * 2 ** 20],
      ['2"M"', 2 * 2 ** 20],
      ["17179869184G", 0],
      ["17179869185G", 2 ** 30],
      ["00010K", 10240],
    ],
    ["", "K", "1k", "1T", "1B", "1MiB", "1 M", "-1", "1.5G", "0x10", "18446744073709551616", "K1", '""'],
  ));

describe("booleans", () =>
  table(
    bool.parse,
    [
      ["on", true],
      ["ON", true],
      ["True", true],
      ["off", false],
      ["oFF", false],
      ["FALSE", false],
    ],
    ["1", "0", "yes", "no", '"on"', "", "onn"],
  ));

describe("lists of integers", () => {
  describe("checked", () =>
    table(
      (text) => parseIntegerList(text, U16, false),
      [
        ["1", [1]],
        ["1-3", [1, 2, 3]],
        ["[1,3-5]", [1, 3, 4, 5]],
        ["[[1,2]]", [1, 2]],
        ["][1,2[]", [1, 2]],
        ["[+1,1,1]", [1, 1, 1]],
        ["1,2", [1, 2]],
      ],
      [
        "[]",
        "",
        "[1,]",
        "[,1]",
        "[3-3]",
        "[3-1]",
        "[1-2-3]",
        "[1, 2]",
        "[a]",
        '["1"]',
        "[65536]",
        "[-1]",
        "[1-]",
        "[1[2]3]",
      ],
    ));
  describe("truncated", () => {
    table(
      (text) => parseIntegerList(text, U16, true),
      [
        ["[65536,65537]", [0, 1]],
        ["18446744073709551615", [65535]],
      ],
      ["18446744073709551616"],
    );
    test("signed", () => expect(parseIntegerList("[4294967295]", I32, true)).toEqual([-1]));
  });
  test("an endless range is refused at once", () =>
    expect(() => parseIntegerList("[0-18446744073709551615]", U64, false)).toThrow(Expected));
  test("8192 elements are accepted, one more is not", () => {
    expect(parseIntegerList("[0-8190,1]", U64, false)).toHaveLength(8192);
    expect(() => parseIntegerList("[0-8191,1]", U64, false)).toThrow(Expected);
  });
});

describe("lists of strings", () =>
  table(
    parseStringList,
    [
      ["a", ["a"]],
      ["[a,b]", ["a", "b"]],
      ["[]", [""]],
      ["[a,,b,]", ["a", "", "b", ""]],
      ["[ a , b ]", ["a ", " b"]],
      ['["a,b",c]', ['"a,b"', "c"]],
      ["[a,[b,c],d]", ["a", "[b,c]", "d"]],
    ],
    ["[[a]]", "[[a],b]", "[a,[b]]", "[ [a],b]", "[a][b]"],
  ));

describe("maps", () => {
  const parse = (text: string) =>
    parsePairs(
      text,
      (key) => parseInteger(key, U32),
      (value) => parseIntegerList(value, U64, false),
    );
  table(
    parse,
    [
      ["[0@1]", [[0, [1]]]],
      [
        "[0@[1,2],1@3-4]",
        [
          [0, [1, 2]],
          [1, [3, 4]],
        ],
      ],
      [
        "[0@1,0@2]",
        [
          [0, [1]],
          [0, [2]],
        ],
      ],
      [
        "[ 0@1 , 1@2 ]",
        [
          [0, [1]],
          [1, [2]],
        ],
      ],
      ['["0"@1]', [[0, [1]]]],
    ],
    [
      "0@1",
      "[]",
      "[0@1,]",
      "[[0@1]]",
      "[0@1@2]",
      "[@1]",
      '[""@1]',
      "[0]",
      "[0@]",
      '[0@"1"]',
      "[0@1][1@2]",
      "[4294967296@1]",
    ],
  );
  test("an '@' in quotes belongs to the key", () =>
    expect(parsePairs('["a@b"@1]', unquote, Number)).toEqual([["a@b", 1]]));
  test("a key is unquoted once", () => expect(parsePairs('["x""y"@1]', string.parse, Number)).toEqual([['x"y', 1]]));
});

describe("addresses", () => {
  describe("MAC", () =>
    table(
      parseMac,
      [
        ["2e:89:a8:e4:92:4d", "2e:89:a8:e4:92:4d"],
        ['"2E:89:A8:E4:92:4D"', "2e:89:a8:e4:92:4d"],
      ],
      ["2e:89:a8:e4:92", "2e:89:a8:e4:92:4d:00", "2e-89-a8-e4-92-4d", "2e:89:a8:e4:92:4", "2e:89:a8:e4:92:4g", ""],
    ));
  describe("IP", () =>
    table(
      parseIp,
      [
        ["192.168.249.1", "192.168.249.1"],
        ["0.0.0.0", "0.0.0.0"],
        ['"1.2.3.4"', "1.2.3.4"],
        ["::", "::"],
        ["::1", "::1"],
        ["1::", "1::"],
        ["fe80::1", "fe80::1"],
        ["2001:DB8:0:0:1:0:0:1", "2001:db8::1:0:0:1"],
        ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
        ["1:0:3:4:5:6:7:8", "1:0:3:4:5:6:7:8"],
        ["::ffff:1.2.3.4", "::ffff:1.2.3.4"],
        ["1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"],
      ],
      [
        "192.168.249.01",
        "1.2.3",
        "1.2.3.4.5",
        "256.1.1.1",
        "1.2.3.4/24",
        "fe80::1%eth0",
        "[::1]",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1::2::3",
        ":::",
        ":1:2:3:4:5:6:7",
        "12345::",
        "1.2.3.4::",
        "1:2:3:4:5:6:7::8",
        "g::",
        "",
      ],
    ));
});

describe("enumerations", () => {
  describe("any case", () =>
    table(
      oneOf({ acpi: "Acpi", "virtio-mem": "VirtioMem" }).parse,
      [
        ["ACPI", "Acpi"],
        ['"Virtio-Mem"', "VirtioMem"],
      ],
      ["VirtioMem", "", "constructor"],
    ));
  describe("exact", () => table(oneOf({ full: "Full" }, "exact").parse, [["full", "Full"]], ["Full", "FULL"]));
});

describe("keys", () => {
  const schema = objectSchema("Test", () => ({ a: optional(string, "a"), b: optional(string, "b") }), {
    ignoredKeys: [{ name: "off", label: "", doc: "off", valueless: true }],
  });
  const read = (text: string) => givenKeys(schema, text);

  for (const text of ["", "   ", "\t\n"])
    test(`blank text ${JSON.stringify(text)} has no keys`, () => expect(read(text).has("a")).toBe(false));
  test("the whole and values are trimmed", () => {
    expect(read("  a= 1 ,b=2  ").raw("a")).toBe("1");
    expect(read("  a= 1 ,b=2  ").raw("b")).toBe("2");
  });
  test("a value keeps its further equals signs", () => expect(read("a=x=y=").raw("a")).toBe("x=y="));
  test("the last of a repeated key counts", () => expect(read("a=1,a=2").raw("a")).toBe("2"));
  test("an empty value is as good as none", () => {
    expect(read("a=").raw("a")).toBeUndefined();
    expect(read("a=").has("a")).toBe(true);
    expect(() => read("a=").required("a", string.parse)).toThrow(MissingKeyError);
    expect(read("a=1,a=").raw("a")).toBeUndefined();
  });
  test("an empty string in quotes is a value", () => {
    expect(read('a=""').value("a", string.parse)).toBe("");
    expect(() => read('a=""').value("a", bool.parse)).toThrow(ConversionError);
  });
  test("a valueless key may have a value, which is ignored", () => {
    expect(read("off").has("off")).toBe(true);
    expect(read("off=anything").has("off")).toBe(true);
  });
  for (const [text, key] of [
    ["a=1, b=2", " b"],
    ["a =1", "a "],
    ['"a"=1', '"a"'],
    ["A=1", "A"],
    ["a=1,", ""],
    ["a=1,,b=2", ""],
    ["=", ""],
    ["c", "c"],
    ["constructor=1", "constructor"],
    ["c=1,a", "c"],
  ] as const)
    test(`'${text}' has the unknown key '${key}'`, () => {
      expect(() => read(text)).toThrow(UnknownKeyError);
      expect(() => read(text)).toThrow(`'${key}'`);
    });
  for (const [text, item] of [
    ["a", "a"],
    ["b=1,a", "a"],
    ["a,c=1", "a"],
  ] as const)
    test(`'${text}' lacks an equals sign in '${item}'`, () => {
      expect(() => read(text)).toThrow(OptionSyntaxError);
      expect(() => read(text)).toThrow(`'${item}'`);
    });
  test("a conversion error names the raw value and the key", () => {
    expect(() => read('a="x"').value("a", bool.parse)).toThrow(ConversionError);
    expect(() => read('a="x"').value("a", bool.parse)).toThrow(/'"x"'.*'a'/);
  });
});
