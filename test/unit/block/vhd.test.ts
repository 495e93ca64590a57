import { afterAll, describe, expect, test } from "bun:test";
import { copyFileSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { resizeImage } from "../../../src/block/resize-image.ts";
import { DiskDriver } from "./disk-driver.ts";
import { noDirectIo, openAnyImage, TestFolder } from "./files.ts";
import { qemu } from "./qemu.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const directIsMissing = noDirectIo(folder) !== undefined;
const SIZE = 1 << 20;
const FOOTER_BYTES = 512;

/** An image of `SIZE` bytes as QEMU makes it. */
function vhd(name: string): string {
  const path = join(folder.path, name);
  qemu("qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=fixed,force_size=on", path, `${SIZE}`);
  return path;
}

/** Changes a VHD image's footer, and keeps its checksum right. */
function withFooter(name: string, change: (footer: Buffer) => void): string {
  const bytes = readFileSync(vhd(name));
  const footer = bytes.subarray(bytes.length - FOOTER_BYTES);
  change(footer);
  footer.writeUInt32BE(0, 64);
  footer.writeUInt32BE(~footer.reduce((sum, byte) => sum + byte, 0) >>> 0, 64);
  return folder.file(name, bytes);
}

describe("a fixed VHD image", () => {
  test("is known by its footer, and as large as that says", () => {
    const path = vhd("known");
    for (const format of [undefined, "vhd"] as const) {
      const opened = openAnyImage(path, { format });
      expect([opened.format, opened.image.size, opened.image.canBeSparse]).toEqual(["vhd", SIZE, false]);
      expect(opened.protectFirstSector).toBe(format === undefined);
      expect(opened.warnings.join().includes("image_type=vhd")).toBe(format === undefined);
      opened.close();
    }
    expect(() => openAnyImage(path, { format: "raw" })).toThrow("is a vhd image, not raw: correct image_type");
  });

  for (const direct of directIsMissing ? [false] : [false, true])
    test(`has the content that QEMU writes and reads, and keeps its footer, ${direct ? "direct" : "cached"}`, async () => {
      const path = vhd(`content-${direct}`);
      qemu("qemu-io", "-f", "vpc", "-c", "write -P 0x11 65536 4096", path);
      const footer = readFileSync(path).subarray(SIZE);
      {
        using driver = await DiskDriver.open(path, { format: "vhd", direct });
        expect(driver.read(65536, 4096)).toEqual(new Uint8Array(4096).fill(0x11));
        driver.write(0, new Uint8Array(1024).fill(0x22));
        driver.write(SIZE - 512, new Uint8Array(512).fill(0x33), [100]);
        driver.flush();
      }
      const bytes = readFileSync(path);
      expect(bytes.subarray(SIZE)).toEqual(footer);
      const reads = ["read -P 0x22 0 1024", "read -P 0x11 65536 4096", `read -P 0x33 ${SIZE - 512} 512`];
      for (const read of reads)
        expect(qemu("qemu-io", "-r", "-f", "vpc", "-c", read, path)).not.toContain("verification failed");
    });

  test("keeps its size and its space", () => {
    const path = vhd("fixed");
    const opened = openAnyImage(path, { format: "vhd", sparse: false });
    expect(() => resizeImage(opened.image, 2 * SIZE, true)).toThrow("convert it to raw or qcow2");
    opened.close();
    expect(statSync(path).size).toBe(SIZE + FOOTER_BYTES);
  });

  test("may have more in front of its footer than the disk", () => {
    const path = withFooter("smaller", (footer) => footer.writeBigUInt64BE(512n, 48));
    const opened = openAnyImage(path, {});
    expect(opened.image.size).toBe(512);
    opened.close();
  });
});

describe("a VHD footer that cannot be trusted is refused", () => {
  const cases: Readonly<Record<string, readonly [(footer: Buffer) => void, string]>> = {
    "another version": [(footer) => footer.writeUInt32BE(0x20000, 12), "is VHD version 0x20000"],
    "a dynamic disk's header": [(footer) => footer.writeBigUInt64BE(512n, 16), "points to a dynamic disk's header"],
    "a disk beyond the file": [(footer) => footer.writeBigUInt64BE(BigInt(SIZE) + 512n, 48), "has been cut short"],
    "the largest size": [(footer) => footer.fill(0xff, 48, 56), "has been cut short"],
    "no whole sectors": [(footer) => footer.writeBigUInt64BE(1000n, 48), "no multiple of 512"],
  };
  for (const [name, [change, message]] of Object.entries(cases))
    test(name, () => {
      const path = withFooter("bad", change);
      const before = readFileSync(path);
      for (const format of [undefined, "vhd"] as const) expect(() => openAnyImage(path, { format })).toThrow(message);
      expect(readFileSync(path)).toEqual(before);
    });

  test("a footer with any bit of its fields changed is no VHD's", () => {
    const path = vhd("bits");
    const good = readFileSync(path);
    for (let at = SIZE; at < SIZE + 85; at++) {
      const bytes = Buffer.from(good);
      bytes.writeUInt8(good.readUInt8(at) ^ 0x10, at);
      const changed = folder.file("changed", bytes);
      expect(() => openAnyImage(changed, { format: "vhd" })).toThrow("is a raw image, not vhd");
    }
  });

  test("an image that has lost its end is no VHD", () => {
    const path = join(folder.path, "cut");
    copyFileSync(vhd("whole"), path);
    for (const length of [SIZE, FOOTER_BYTES, 512 * 3, 0]) {
      const cut = folder.file("cut", readFileSync(path).subarray(0, length));
      expect(() => openAnyImage(cut, { format: "vhd" })).toThrow("not vhd");
    }
  });
});
