import { afterAll, expect, spyOn, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { imageInfo } from "../../../../src/block/image-info.ts";
import { type Creation, createImage } from "../../../../src/cli/disk/create.ts";
import { libc } from "../../../../src/host/libc.ts";
import { mapAnonymous } from "../../../../src/host/mmap.ts";
import { NewFile } from "../../../../src/host/new-file.ts";
import { Sys } from "../../../../src/host/syscall-numbers.ts";
import { TestFolder } from "../../block/files.ts";
import { checkImage, contentsOf, qemu } from "../../block/qemu.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const MIB = 1 << 20;

let made = 0;
async function create(options: Partial<Creation>): Promise<string> {
  const target = join(folder.path, `new-${made++}`);
  const usual = { format: "qcow2", size: 9 * MIB + 512, clusterBytes: undefined, backing: undefined } as const;
  await createImage({ target, ...usual, preallocation: "off", ...options });
  return target;
}

for (const clusterBytes of [512, 65536, 2 * MIB])
  for (const preallocation of ["off", "metadata", "falloc"] as const)
    test(`an empty qcow2 image: clusters of ${clusterBytes} bytes, preallocation ${preallocation}`, async () => {
      const path = await create({ clusterBytes, preallocation });
      checkImage(path);
      const contents = await contentsOf(path, join(folder.path, "contents"));
      expect(contents.length).toBe(9 * MIB + 512);
      expect(contents.every((byte) => byte === 0)).toBeTrue();
      const map = qemu("qemu-img", "map", "--output=json", path);
      expect(map.includes('"offset"')).toBe(preallocation !== "off");
      expect(statSync(path).blocks * 512 > 9 * MIB).toBe(preallocation === "falloc");
      // Both programs go on with it.
      qemu("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 3M", path);
      checkImage(path);
    });

test("a raw image, with and without its space", async () => {
  const sparse = statSync(await create({ format: "raw" }));
  expect(sparse.size).toBe(9 * MIB + 512);
  expect(sparse.blocks).toBe(0);
  expect(statSync(await create({ format: "raw", preallocation: "falloc" })).blocks * 512).toBeGreaterThan(9 * MIB);
});

test("an image of differences has the size and the content of what is below it", async () => {
  const contents = new Uint8Array(3 * MIB).fill(0x5a);
  folder.file("below.raw", contents);
  const path = await create({ size: undefined, backing: { name: "below.raw", format: "raw" } });
  expect(imageInfo(path).qcow2?.backing).toEqual({ name: "below.raw", format: "raw" });
  checkImage(path);
  expect(await contentsOf(path, join(folder.path, "contents"))).toEqual(contents);
  const over = await create({ size: 4 * MIB, clusterBytes: 512, backing: { name: path, format: "qcow2" } });
  checkImage(over);
  expect((await contentsOf(over, join(folder.path, "contents"))).subarray(0, contents.length)).toEqual(contents);
});

const REFUSED: readonly (readonly [string, Partial<Creation>])[] = [
  ["a multiple of 512", { size: 1000 }],
  ["a multiple of 512", { size: 0 }],
  ["give a size", { size: undefined }],
  ["power of two", { clusterBytes: 3000 }],
  ["power of two", { clusterBytes: 4 * MIB }],
  ["too small for a disk", { size: 2 ** 40, clusterBytes: 512 }],
  ["there is no such file", { backing: { name: "missing", format: "raw" } }],
  ["correct --backing-format", { backing: { name: "other.raw", format: "qcow2" } }],
  ["would hide the backing file", { backing: { name: "other.raw", format: "raw" }, preallocation: "metadata" }],
  ["use --format qcow2", { format: "raw", backing: { name: "other.raw", format: "raw" } }],
];

test("what cannot be made leaves nothing behind", async () => {
  folder.file("other.raw", new Uint8Array(MIB));
  const before = readdirSync(folder.path);
  for (const [problem, options] of REFUSED) {
    let text = "";
    try {
      await create(options);
    } catch (error) {
      text = error instanceof Error ? `${error.message}: ${error.cause}` : "";
    }
    expect(text).toContain(problem);
  }
  expect(readdirSync(folder.path)).toEqual(before);
});

test("a file that is there is left as it is", async () => {
  const target = folder.file("precious", "precious");
  await expect(create({ target })).rejects.toThrow("choose another name");
  expect(readFileSync(target, "utf8")).toBe("precious");
});

for (const unnamed of [true, false])
  test(`a new file has its name only when it is published, ${unnamed ? "and none before" : "and another before"}`, () => {
    const sub = new TestFolder();
    const target = join(sub.path, "new");
    {
      using _dropped = new NewFile(target, unnamed);
      expect(readdirSync(sub.path).length).toBe(unnamed ? 0 : 1);
    }
    expect(readdirSync(sub.path)).toEqual([]);
    {
      using file = new NewFile(target, unnamed);
      file.publish();
      expect(() => file.publish()).toThrow("EEXIST");
    }
    expect(readdirSync(sub.path)).toEqual(["new"]);
    sub.remove();
  });

test("where a file can have no link, a new one is given another name, but not one that exists", () => {
  const sub = new TestFolder();
  const target = join(sub.path, "new");
  const root = mapAnonymous(2);
  root.u8.set(Buffer.from("/\0"));
  const { syscall } = libc;
  // A link to a folder fails as links do on vfat: EPERM.
  using _ = spyOn(libc, "syscall").mockImplementation((number, folder, from, ...args) =>
    syscall(number, folder, number === Sys.linkat ? root.address : from, ...args),
  );
  for (const expected of [undefined, "EEXIST"]) {
    using file = new NewFile(target, false);
    if (expected === undefined) file.publish();
    else expect(() => file.publish()).toThrow(expected);
  }
  expect(readdirSync(sub.path)).toEqual(["new"]);
  sub.remove();
});
