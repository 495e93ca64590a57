import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FsRight } from "../../../../src/host/landlock.ts";
import { isAllowed, layerOf, rightsOfLetters } from "../../../../src/vmm/confinement/landlock-layer.ts";

let root = "";
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "layer-"));
  mkdirSync(join(root, "a/b"), { recursive: true });
  mkdirSync(join(root, "c"));
  symlinkSync(join(root, "a/b"), join(root, "link"));
});
afterAll(() => rmSync(root, { recursive: true }));

const reads = (layer: ReturnType<typeof layerOf>, path: string): boolean =>
  isAllowed(layer, { option: "--disk", path: `${root}/${path}`, rights: FsRight.READ_FILE });

test("a rule allows what is beneath its path, and no more than its letters say", () => {
  const layer = layerOf([{ path: `${root}/a`, rights: rightsOfLetters("r") }]);
  expect(["a", "a/b", "link", "c", "nothing"].map((path) => reads(layer, path))).toEqual([
    true,
    true,
    true,
    false,
    true,
  ]);
  expect(isAllowed(layer, { option: "--disk", path: `${root}/a/b`, rights: FsRight.WRITE_FILE })).toBe(false);
});

test("'..' behind a link goes up from where the link leads, as in the kernel", () => {
  expect(reads(layerOf([]), "link/../b")).toBe(false);
  const layer = layerOf([{ path: `${root}/link/..`, rights: rightsOfLetters("r") }]);
  expect(["a/b", "link/../b", "c"].map((path) => reads(layer, path))).toEqual([true, true, false]);
});
