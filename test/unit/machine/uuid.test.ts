import { expect, test } from "bun:test";
import { mixedEndianUuid, UuidError } from "../../../src/machine/uuid.ts";

const UUID = "00112233-4455-6677-8899-AabBcCddeEff";

test("the first three fields are little-endian, in every form", () => {
  for (const text of [UUID, UUID.replaceAll("-", ""), `{${UUID}}`, `urn:uuid:${UUID}`])
    expect(mixedEndianUuid(text).toHex()).toBe("33221100554477668899aabbccddeeff");
});

test("all else is refused", () => {
  for (const text of [
    "",
    "0",
    UUID.slice(1),
    `${UUID}0`,
    UUID.replace("-", "_"),
    UUID.replace("0", "g"),
    UUID.replace("0", " "),
    UUID.replace("0", "-"),
    "0011223344-55-6677-8899-aabbccddeeff",
    `{${UUID}`,
    `${UUID}}`,
    `{${UUID.replaceAll("-", "")}}`,
    `urn:uuid:${UUID.replaceAll("-", "")}`,
    `URN:uuid:${UUID}`,
    "é".repeat(36),
  ])
    expect(() => mixedEndianUuid(text)).toThrow(UuidError);
});
