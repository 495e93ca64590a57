import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, closeSync, fstatSync, mkdirSync, openSync, statSync, symlinkSync, truncateSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { flock } from "../../../src/host/file-lock.ts";
import { libc } from "../../../src/host/libc.ts";
import { mapAnonymous } from "../../../src/host/mmap.ts";
import { openDescriptors, openedSince } from "../open-descriptors.ts";
import { noDirectIo, openImage, TestFolder } from "./files.ts";
import { qemu } from "./qemu.ts";

const folder = new TestFolder();
afterAll(() => folder.remove());
const sectors = (count: number): Uint8Array => new Uint8Array(count * 512);
const directIsMissing = noDirectIo(folder) !== undefined;

/** The chain of messages of what `action` throws. */
function failure(action: () => void): string {
  try {
    action();
  } catch (error) {
    const chain: string[] = [];
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) chain.push(cause.message);
    return chain.join(" / ");
  }
  throw new Error("it did not fail");
}

describe("what is no disk is refused with advice", () => {
  test("missing", () => {
    expect(failure(() => openImage(join(folder.path, "none")))).toMatch(
      /cannot be opened: there is no such file, .*ENOENT/,
    );
  });

  test("directory, FIFO, socket and character device", async () => {
    const directory = join(folder.path, "directory");
    mkdirSync(directory);
    expect(failure(() => openImage(directory))).toContain("is a directory: give a file or a block device");
    const fifo = join(folder.path, "fifo");
    Bun.spawnSync(["mkfifo", fifo]);
    for (const readonly of [false, true])
      expect(failure(() => openImage(fifo, { readonly }))).toContain("is a FIFO: give a file");
    expect(failure(() => openImage("/dev/null"))).toContain("is a character device");
    const socket = join(folder.path, "socket");
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    expect(failure(() => openImage(socket))).toContain("is a socket");
    await new Promise((resolve) => server.close(resolve));
  });

  test("a size that is no multiple of 512", () => {
    expect(failure(() => openImage(folder.file("odd", new Uint8Array(1000))))).toMatch(
      /has 1000 bytes, no multiple of 512: .* truncate -s 1024/,
    );
  });

  test.skipIf(process.getuid?.() === 0)("without permission", () => {
    const path = folder.file("secret", sectors(1));
    chmodSync(path, 0o400);
    expect(failure(() => openImage(path))).toContain("readonly=on needs only to read");
    chmodSync(path, 0);
    expect(failure(() => openImage(path, { readonly: true }))).toContain("this user may not read it");
  });
});

describe("formats", () => {
  const vhdFooter = (type = 2): Buffer => {
    const footer = Buffer.alloc(512);
    footer.write("conectix");
    footer.writeUInt32BE(type, 60);
    let sum = 0;
    for (const byte of footer) sum += byte;
    footer.writeUInt32BE(~sum >>> 0, 64);
    return footer;
  };
  const vmdk = '# Disk DescriptorFile\nversion=1\ncreateType="monolithicFlat"\nRW 1 FLAT "a" 0\n'.padEnd(512, "\n");

  test("vmdk is refused by name, however it is declared", () => {
    const path = folder.file("image.vmdk", vmdk);
    for (const format of [undefined, "vmdk"] as const)
      expect(failure(() => openImage(path, { format }))).toContain("is a vmdk image, which is not supported yet");
    expect(failure(() => openImage(path))).toContain("is a vmdk image, not raw: correct image_type");
  });

  for (const [type, kind] of [
    [3, "dynamic"],
    [4, "differencing"],
  ] as const)
    test(`a ${kind} VHD is refused by name, unless it is said to be a raw disk`, () => {
      const path = folder.file("image.vhd", Buffer.concat([vhdFooter(type), sectors(8), vhdFooter(type)]));
      for (const format of [undefined, "vhd", "qcow2"] as const)
        expect(failure(() => openImage(path, { format }))).toContain(`is a ${kind} VHD image, only fixed ones are`);
      const image = openImage(path, { format: "raw" });
      expect(image.format).toBe("raw");
      image.close();
    });

  test("a dynamic VHD made by QEMU is known as one", () => {
    const path = join(folder.path, "dynamic.vhd");
    qemu("qemu-img", "create", "-q", "-f", "vpc", "-o", "subformat=dynamic", path, "8M");
    expect(failure(() => openImage(path, { format: undefined }))).toContain("qemu-img convert -f vpc -O raw");
  });

  test("what only resembles another format is raw", () => {
    const damaged = vhdFooter();
    damaged[100] = 1;
    for (const contents of [sectors(2), damaged, Buffer.from(vmdk.replace("monolithicFlat", "monolithicSpar"))]) {
      const image = openImage(folder.file("raw", contents), { format: undefined });
      expect(image.format).toBe("raw");
      image.close();
    }
  });

  test("a qcow2 image is known by its header, and has to have one", () => {
    const path = folder.file("image.qcow2", Buffer.concat([Buffer.from("QFI\xfb", "latin1"), sectors(1)]));
    for (const format of [undefined, "qcow2"] as const)
      expect(failure(() => openImage(path, { format }))).toContain("is qcow version 0, only 2 and 3 are known");
    expect(failure(() => openImage(path))).toContain("is a qcow2 image, not raw: correct image_type");
  });

  test("raw is refused as another format", () => {
    expect(failure(() => openImage(folder.file("raw", sectors(1)), { format: "qcow2" }))).toContain(
      "is a raw image, not qcow2",
    );
  });

  test("a raw image of undeclared format keeps its first sector and warns", () => {
    const path = folder.file("raw", sectors(1));
    const guessed = openImage(path, { format: undefined });
    expect(guessed.protectFirstSector).toBe(true);
    expect(guessed.warnings.join()).toContain("image_type=raw");
    guessed.close();
    const declared = openImage(path);
    expect([declared.protectFirstSector, declared.warnings.length]).toEqual([false, 0]);
    declared.close();
  });
});

describe("an opened image", () => {
  test("tells size, topology and serial", () => {
    const path = folder.file("plain", sectors(9));
    const opened = openImage(path);
    const { image, defaultSerial } = opened;
    expect([image.size, image.alignment, image.isDevice, image.readonly]).toEqual([9 * 512, 1, false, false]);
    expect(image.topology).toEqual({ logicalBlock: 512, physicalBlock: 512, minimumIo: 512, optimalIo: 0 });
    const { dev, rdev, ino } = statSync(path, { bigint: true });
    expect(defaultSerial).toBe(`${dev}${rdev}${ino}00000000000000000000`.slice(0, 20));
    expect(image.cachedFd).toBe(image.fd);
    expect(structuredClone(image)).toEqual(image);
    opened.close();
    expect(() => fstatSync(image.fd)).toThrow("EBADF");
  });

  test("may be empty, behind a symbolic link, or larger than 4 GiB", () => {
    openImage(folder.file("empty", "")).close();
    const path = folder.file("large", "");
    truncateSync(path, 5 * 2 ** 30);
    const link = join(folder.path, "link");
    symlinkSync(path, link);
    const opened = openImage(link);
    expect(opened.image.size).toBe(5 * 2 ** 30);
    opened.close();
  });

  test("is not left open or inherited", () => {
    const path = folder.file("inherit", sectors(1));
    const opened = openImage(path);
    const F_GETFD = 1;
    expect(libc.fcntl(opened.image.fd, F_GETFD, 0)).toBe(1);
    opened.close();
    const before = openDescriptors();
    for (let i = 0; i < 10; i++) failure(() => openImage(folder.file("odd", new Uint8Array(100))));
    expect(openedSince(before)).toEqual([]);
  });

  test("sparse=off allocates all of it", () => {
    const path = folder.file("thick", "");
    truncateSync(path, 1 << 20);
    expect(statSync(path).blocks).toBe(0);
    const opened = openImage(path, { sparse: false });
    expect(opened.warnings).toEqual([]);
    opened.close();
    expect(statSync(path).blocks * 512).toBeGreaterThanOrEqual(1 << 20);
    expect(statSync(path).size).toBe(1 << 20);
  });

  test.skipIf(directIsMissing)("direct I/O: a second descriptor and the alignment it needs", () => {
    const opened = openImage(folder.file("direct", sectors(64)), { direct: true });
    const { fd, cachedFd, alignment, topology } = opened.image;
    expect(fd).not.toBe(cachedFd);
    expect(alignment).toBeGreaterThanOrEqual(512);
    expect(topology.logicalBlock).toBe(alignment);
    opened.close();
  });
});

describe("locks", () => {
  test("a writer excludes everybody, readers only writers", () => {
    const path = folder.file("locked", sectors(4));
    const writer = openImage(path);
    expect(failure(() => openImage(path))).toContain("is in use by another process");
    expect(failure(() => openImage(path, { readonly: true }))).toContain("is being written by another process");
    writer.close();
    const readers = [openImage(path, { readonly: true }), openImage(path, { readonly: true, lock: "full" })];
    expect(failure(() => openImage(path, { lock: "full" }))).toContain("is in use");
    for (const reader of readers) reader.close();
    openImage(path).close();
  });

  test("byte-range covers what is there, full also what will be", () => {
    const path = folder.file("grows", sectors(1));
    const range = openImage(path);
    const full = folder.file("full", sectors(1));
    const whole = openImage(full, { lock: "full" });
    const beyond = (file: string): number => {
      const fd = openSync(file, "r+");
      const block = mapAnonymous(flock.size);
      Object.assign(flock.at(block), { l_type: 1, l_whence: 0, l_start: 2 ** 40, l_len: 1, l_pid: 0 });
      const F_OFD_SETLK = 37;
      const result = libc.fcntl(fd, F_OFD_SETLK, block.address);
      closeSync(fd);
      return result;
    };
    expect([beyond(path), beyond(full)]).toEqual([0, -1]);
    range.close();
    whole.close();
  });
});
