import { expect, test } from "bun:test";
import { ageText, bytesText, countText, latencyText, shareText } from "../../../../../src/cli/ch-remote/top/units.ts";

test.each([
  [countText, 0, "0"],
  [countText, 0.5, "0.5"],
  [countText, 999, "999"],
  [countText, 999.6, "1.0k"],
  [countText, 12_345, "12.3k"],
  [countText, 999_999, "1.0M"],
  [bytesText, 0, "0 B"],
  [bytesText, 1023, "1.0 KiB"],
  [bytesText, 1.5 * 2 ** 30, "1.5 GiB"],
  [bytesText, 512 * 2 ** 20, "512 MiB"],
  [shareText, 0, "0.0%"],
  [shareText, 0.9996, "100%"],
  [shareText, 3.2, "320%"],
  [latencyText, 12e-6, "12 us"],
  [latencyText, 999.9e-6, "1.0 ms"],
  [latencyText, 2.25, "2.3 s"],
  [ageText, 59.9, "0:00:59"],
  [ageText, 90_061, "1d 1:01:01"],
] as const)("%p of %d is %s", (text, value, expected) => {
  expect(text(value)).toBe(expected);
});

test("what is not known", () => {
  for (const text of [countText, bytesText, shareText, latencyText]) expect(text(undefined)).toBe("-");
});
