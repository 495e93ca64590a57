import { afterAll, describe, expect, spyOn, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { resizeImage } from "../../../src/block/resize-image.ts";
import { libc } from "../../../src/host/libc.ts";
import { openImage, TestFolder } from "./files.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());

describe("resizing an image", () => {
  test("keeps what lies inside both sizes; what is gained reads as zeroes", () => {
    const path = folder.file("grow", new Uint8Array(2048).fill(7));
    const open = openImage(path);
    resizeImage(open.image, 1024, true);
    resizeImage(open.image, 4096, true);
    open.close();
    const bytes = readFileSync(path);
    expect(bytes.length).toBe(4096);
    expect(bytes.subarray(0, 1024).every((byte) => byte === 7)).toBe(true);
    expect(bytes.subarray(1024).every((byte) => byte === 0)).toBe(true);
  });

  test("allocates what is gained unless there may be holes", () => {
    const [holes, none] = ["holes", "none"].map((name) => folder.file(name, new Uint8Array(512)));
    if (holes === undefined || none === undefined) throw new Error("no files");
    for (const [path, sparse] of [
      [holes, true],
      [none, false],
    ] as const) {
      const open = openImage(path, { sparse });
      resizeImage(open.image, 1 << 20, sparse);
      open.close();
    }
    expect(statSync(none).blocks * 512).toBeGreaterThanOrEqual(1 << 20);
    expect(statSync(holes).blocks).toBeLessThan(statSync(none).blocks);
  });

  test("that finds no space for all of it gives back what it has found", () => {
    const path = folder.file("full", new Uint8Array(512));
    const { blocks } = statSync(path);
    const open = openImage(path);
    const { fallocate } = libc;
    {
      // As ext4: what there is is allocated, beyond the end, and then there is no more.
      using _ = spyOn(libc, "fallocate").mockImplementation((fd, mode, offset, length) => {
        if (length < 1 << 20) return fallocate(fd, mode, offset, length);
        fallocate(fd, mode, offset, length / 2);
        return fallocate(fd, mode, 0, Number.MAX_SAFE_INTEGER);
      });
      expect(() => resizeImage(open.image, 2 << 20, false)).toThrow("cannot be made 2097152 bytes long");
    }
    open.close();
    expect([statSync(path).size, statSync(path).blocks]).toEqual([512, blocks]);
  });

  test("is refused for a read-only disk and for sizes that no disk has", () => {
    const path = folder.file("refused", new Uint8Array(1024));
    const readonly = openImage(path, { readonly: true });
    expect(() => resizeImage(readonly.image, 2048, true)).toThrow("read-only");
    readonly.close();
    const open = openImage(path);
    for (const size of [0, -512, 513, 2 ** 53, Number.NaN])
      expect(() => resizeImage(open.image, size, true)).toThrow("a multiple of 512 above 0");
    open.close();
    expect(statSync(path).size).toBe(1024);
  });
});
