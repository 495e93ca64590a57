import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { tmpdir, totalmem } from "node:os";
import { join } from "node:path";
import { unsupportedFeatures } from "../../src/config/supported.ts";
import { scratchDir } from "../setup/cache.ts";
import { runText } from "../setup/exec.ts";
import { bzImage, elf, PT_LOAD, PT_NOTE, pvhKernel, pvhNote } from "../unit/machine/x86_64/loader/images.ts";
import { buildPayload } from "./build.ts";
import {
  type CommandOptions,
  type CommandOutcome,
  canUnshare,
  errorBudgetMs,
  failureChain,
  runCommand,
} from "./command.ts";
import { startOnVmm, vmmPath } from "./vmm.ts";

const GIB = 1 << 30;
const DISK_BYTES = 1 << 20;
/** How often a run that took too long is repeated: the machine may be busy with something else. */
const ATTEMPTS = 4;

/** Images that are laid over what nothing can be laid over. */
const OVERLAYS: Readonly<Record<string, string>> = {
  "on-fifo.qcow2": "fifo",
  "on-socket.qcow2": "socket",
  "on-folder.qcow2": "folder",
  "on-missing.qcow2": "missing",
  "on-file-below-file.qcow2": "empty/below",
  "on-zero.qcow2": "/dev/zero",
  "on-itself.qcow2": "on-itself.qcow2",
  "on-empty.qcow2": "empty",
};

let fixtures: string;
let empty: string;
let kernel: string;
let budgetMs: number;
let socket: Server;
let specials: string;

const fixture = (name: string): string => join(fixtures, name);

beforeAll(async () => {
  fixtures = await scratchDir("bad-input");
  empty = await scratchDir("bad-input-cwd");
  kernel = await buildPayload("hello");
  budgetMs = await errorBudgetMs();
  const image = readFileSync(kernel);
  const random = crypto.getRandomValues(new Uint8Array(65536));
  // Never by chance the start of something else.
  random.fill(0xff, 0, 16);
  const load = (paddr: number, size: number, memsz: number | bigint = size) => ({
    type: PT_LOAD,
    paddr,
    data: new Uint8Array(size),
    memsz,
  });
  const pvh = { type: PT_NOTE, data: pvhNote(0x10_0000) };
  const files: Readonly<Record<string, Uint8Array | string>> = {
    empty: "",
    random,
    "truncated-header.elf": image.subarray(0, 40),
    "truncated.elf": image.subarray(0, image.length / 2),
    "overlapping.elf": elf({ segments: [pvh, load(0x10_0000, 0x2000), load(0x10_1000, 0x2000)] }),
    "huge-memsz.elf": elf({ segments: [pvh, load(0x10_0000, 0x1000, 1n << 63n)] }),
    "large-memsz.elf": elf({ segments: [pvh, load(0x10_0000, 0x1000, 1n << 40n)] }),
    "wrapping.elf": elf({ segments: [pvh, load(0x10_0000, 0x1000, (1n << 64n) - 1n)] }),
    "no-note.elf": elf({ segments: [load(0x10_0000, 0x1000)] }),
    "note-outside.elf": elf({ segments: [{ type: PT_NOTE, offset: 1 << 30, filesz: 64 }, load(0x10_0000, 0x1000)] }),
    "entry-outside.elf": pvhKernel(undefined, 0xf000_0000),
    "headers-outside.elf": elf({ segments: [pvh, load(0x10_0000, 0x1000)], phoff: 1 << 30 }),
    "many-headers.elf": elf({ segments: [pvh, load(0x10_0000, 0x1000)], phnum: 0xffff }),
    "truncated.bzimage": bzImage().subarray(0, 1000),
    "zimage.bzimage": bzImage({ loadflags: 0 }),
    "odd.raw": new Uint8Array(1000),
    "disk.raw": new Uint8Array(DISK_BYTES),
    "image.qcow2": Buffer.concat([Buffer.from("QFI\xfb\0\0\0\x03", "latin1"), Buffer.alloc(DISK_BYTES - 8)]),
    "initramfs.cpio": "",
    "secret.raw": new Uint8Array(DISK_BYTES),
    "secret.elf": image,
  };
  for (const [name, bytes] of Object.entries(files)) writeFileSync(fixture(name), bytes, { mode: 0o644 });
  truncateSync(fixture("initramfs.cpio"), 2 * GIB);
  mkdirSync(fixture("folder"));
  for (const name of ["secret.raw", "secret.elf"]) chmodSync(fixture(name), 0);
  chmodSync(fixtures, 0o755);
  // -u: QEMU would wait for the other end of a FIFO.
  for (const [name, below] of Object.entries(OVERLAYS))
    await runText(["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-b", below, "-F", "qcow2", fixture(name), "1M"]);
  // A file system that is shared with an emulated host has neither sockets nor FIFOs.
  specials = mkdtempSync(join(tmpdir(), "bad-input-"));
  for (const name of ["fifo", "socket"]) symlinkSync(join(specials, name), fixture(name));
  Bun.spawnSync(["mkfifo", join(specials, "fifo")]);
  socket = createServer();
  await new Promise<void>((listening) => socket.listen(join(specials, "socket"), listening));
});

afterAll(async () => {
  socket.close();
  for (const folder of [fixtures, empty, specials]) await rm(folder, { recursive: true, force: true });
});

/** Repeats a run that took longer than an error may, and answers with the quickest. */
async function quickest(run: () => Promise<CommandOutcome>): Promise<CommandOutcome> {
  let best = await run();
  for (let attempt = 1; attempt < ATTEMPTS && best.elapsedMs >= budgetMs; attempt++) {
    const next = await run();
    if (next.elapsedMs < best.elapsedMs) best = next;
  }
  return best;
}

/** The arguments must be refused at once, with an error that says `expected`, and leave nothing. */
async function expectRefusal(args: readonly string[], expected: RegExp | string, options: CommandOptions = {}) {
  const before = readdirSync(fixtures).sort();
  const outcome = await quickest(() => runCommand(args, { cwd: empty, ...options }));
  const { exitCode, signal, stdout, left, elapsedMs } = outcome;
  const chain = failureChain(outcome.stderr);
  expect({ exitCode, signal, stdout, left }).toEqual({ exitCode: 1, signal: null, stdout: "", left: [] });
  expect(chain.join("\n")).toMatch(expected);
  expect(readdirSync(empty)).toEqual([]);
  expect(readdirSync(fixtures).sort()).toEqual(before);
  expect(elapsedMs).toBeLessThan(budgetMs);
}

/** A VM that would run, with what is given after it. */
const vm = (...more: readonly string[]): string[] => [
  "--kernel",
  kernel,
  "--serial",
  "tty",
  "--console",
  "off",
  ...more,
];

type Case = readonly [what: string, args: () => readonly string[], expected: RegExp | string];

/** One test a case. */
function refused(cases: readonly Case[]): void {
  for (const [what, args, expected] of cases) test(what, () => expectRefusal(args(), expected));
}

/** Kinds of files that are no kernel, and what is said of each. */
const NO_KERNELS: readonly (readonly [name: string, expected: RegExp])[] = [
  ["empty", /the file is empty/],
  ["random", /neither ELF nor a bzImage/],
  ["truncated-header.elf", /the ELF header is cut off/],
  ["truncated.elf", /lies outside the file, which may be cut off/],
  ["overlapping.elf", /ELF segments overlap at 0x101000/],
  ["huge-memsz.elf", /ends beyond the address space/],
  ["large-memsz.elf", /does not fit guest RAM: give --memory a larger size/],
  ["wrapping.elf", /ends beyond the address space/],
  ["no-note.elf", /missing PVH header.*CONFIG_PVH/],
  ["note-outside.elf", /notes lie outside the file/],
  ["entry-outside.elf", /entry point 0xf0000000 is outside guest RAM/],
  ["headers-outside.elf", /program headers lie outside the file/],
  ["many-headers.elf", /program headers lie outside the file/],
  ["truncated.bzimage", /the bzImage ends before its code starts/],
  ["zimage.bzimage", /build a bzImage/],
  ["folder", /is a directory: give --ROLE a file/],
  ["fifo", /is a FIFO: give --ROLE a file/],
  ["socket", /it is a socket.*check --ROLE/],
  ["missing", /there is no such file; check --ROLE/],
  ["empty/below", /a part of the path is not a directory; check --ROLE/],
  ["/dev/zero", /is not a regular file: give --ROLE a file/],
  ["", /the path of the ROLE is empty: give --ROLE a file/],
];

for (const role of ["kernel", "firmware"] as const)
  describe(`--${role}`, () => {
    for (const [name, { source }] of NO_KERNELS) {
      const path = () => (name === "" || name.startsWith("/") ? name : fixture(name));
      test(name === "" ? "an empty path" : name, () =>
        expectRefusal(
          [`--${role}`, path(), "--serial", "tty", "--console", "off"],
          new RegExp(source.replaceAll("ROLE", role)),
        ),
      );
    }
  });

describe("--initramfs and --cmdline", () => {
  refused([
    ["missing", () => vm("--initramfs", fixture("missing")), /no such file; check --initramfs/],
    ["a directory", () => vm("--initramfs", fixture("folder")), /is a directory: give --initramfs a file/],
    ["a FIFO", () => vm("--initramfs", fixture("fifo")), /is a FIFO/],
    ["larger than RAM", () => vm("--initramfs", fixture("initramfs.cpio")), /does not fit guest RAM.*larger size/],
    ["a command line of 64 KiB", () => vm("--cmdline", "x".repeat(65536)), /takes at most 65535/],
  ]);
});

const disk = (name: string, more = ""): string[] => {
  const path = name.startsWith("/") ? name : fixture(name);
  return vm("--disk", `path=${path},image_type=raw${more}`);
};

const image = (name: string, type: string, more = ""): string[] =>
  vm("--disk", `path=${name.startsWith("/") ? name : fixture(name)},image_type=${type}${more}`);

describe("--disk", () => {
  const file = /give a file or a block device/;
  refused([
    ["a directory", () => disk("folder"), file],
    ["a FIFO", () => disk("fifo"), file],
    ["a socket", () => disk("socket"), file],
    ["/dev/zero", () => disk("/dev/zero"), file],
    ["/dev/null", () => disk("/dev/null"), file],
    ["missing", () => disk("missing"), /there is no such file, check path/],
    ["below a file", () => disk("empty/below"), /cannot be opened/],
    ...["qcow2", "vhd", "vhdx"].flatMap((type): Case[] => [
      [`a directory as ${type}`, () => image("folder", type), file],
      [`a FIFO as ${type}`, () => image("fifo", type), file],
      [`/dev/zero as ${type}`, () => image("/dev/zero", type), file],
      [`an empty file as ${type}`, () => image("empty", type), new RegExp(`is a raw image, not ${type}`)],
      [`anything as ${type}`, () => image("random", type), new RegExp(`is a raw image, not ${type}`)],
    ]),
    ["laid over a file without leave", () => image("on-empty.qcow2", "qcow2"), /allow it with backing_files=on/],
    ...Object.entries({
      "on-fifo.qcow2": file,
      "on-socket.qcow2": file,
      "on-folder.qcow2": file,
      "on-zero.qcow2": file,
      "on-missing.qcow2": /there is no such file/,
      "on-file-below-file.qcow2": /cannot be opened/,
      "on-itself.qcow2": /is below itself as a backing file/,
      "on-empty.qcow2": /empty.* is no qcow2|cut short|magic/,
    }).map(([name, said]): Case => [name, () => image(name, "qcow2", ",backing_files=on"), said]),
    ["no path", () => vm("--disk", "readonly=on"), /has no image: give --disk a path/],
    ["no multiple of 512", () => disk("odd.raw"), /has 1000 bytes, no multiple of 512.*truncate -s 1024/],
    ["a damaged qcow2 image", () => vm("--disk", `path=${fixture("image.qcow2")}`), /has clusters of 2\^0 bytes/],
    ["qcow2 that is called raw", () => disk("image.qcow2"), /is a qcow2 image, not raw: correct image_type/],
    ["twice", () => [...disk("disk.raw"), `path=${fixture("disk.raw")}`], /is in use.*readonly=on/],
    ["more queues than vCPUs", () => disk("disk.raw", ",num_queues=2"), /2 queues, more than CPUs at boot: 1/],
    ["a queue size of 0", () => disk("disk.raw", ",queue_size=0"), /queue size 0/],
    ["a queue size of 100", () => disk("disk.raw", ",queue_size=100"), /100 is not a power of two/],
    ["slot 32", () => disk("disk.raw", ",pci_device_id=32"), /slot 32 does not exist, the last is 31/],
    ["a long serial", () => disk("disk.raw", `,serial=${"s".repeat(21)}`), /at most 20 are possible/],
    [
      "more disks than slots",
      () => vm("--disk", ...Array.from({ length: 32 }, () => `path=${fixture("disk.raw")},readonly=on`)),
      /PCI slots are taken: use fewer devices/,
    ],
  ]);

  test("locked by another VM: only readers share", async () => {
    const image = fixture("disk.raw");
    const options = (more: string) => ({ extra: ["--disk", `path=${image},image_type=raw${more}`] });
    const reader = await startOnVmm("reboot", options(",readonly=on"));
    try {
      await reader.nextLine((line) => line === "BOOT");
      await expectRefusal(disk(image), /disk image .* is in use by another process.*readonly=on/);
      const second = await startOnVmm("hello", options(",readonly=on"));
      expect((await second.outcome()).exitCode).toBe(0);
    } finally {
      reader.signal("SIGTERM");
    }
    expect((await reader.outcome()).exitCode).toBe(0);
    const writer = await startOnVmm("reboot", options(""));
    try {
      await writer.nextLine((line) => line === "BOOT");
      await expectRefusal(disk(image), /is in use by another process/);
      await expectRefusal(disk(image, ",readonly=on"), /is being written by another process/);
    } finally {
      writer.signal("SIGTERM");
    }
    expect((await writer.outcome()).exitCode).toBe(0);
  });
});

describe("--vsock", () => {
  const vsock = (name: string, cid = "3"): string[] => vm("--vsock", `cid=${cid},socket=${name}`);
  const listen = /cannot listen at .*give --vsock a socket in a folder that exists/;
  refused([
    ["a socket in use", () => vsock(fixture("socket")), listen],
    ["a file in its place", () => vsock(fixture("disk.raw")), listen],
    ["a directory in its place", () => vsock(fixture("folder")), listen],
    ["a missing folder", () => vsock(fixture("missing/s")), listen],
    ["a path longer than a socket's", () => vsock(`/tmp/${"x".repeat(103)}`), /has 108 bytes, 1 to 107 are possible/],
    ["no path", () => vsock(""), /'socket' is missing: give socket=/],
    ...["0", "1", "2", "4294967295"].map(
      (cid): Case => [`context id ${cid}`, () => vsock("s", cid), /has a special meaning, use 3 to 4294967294/],
    ),
    ["a context id of 33 bits", () => vsock("s", "4294967296"), /4294967296/],
    ["slot 32", () => vsock("s,pci_device_id=32"), /slot 32 does not exist, the last is 31/],
  ]);
});

const canOvercommit = (): boolean => readFileSync("/proc/sys/vm/overcommit_memory", "latin1").trim() === "1";

describe("--memory", () => {
  const size = (text: string): string[] => vm("--memory", text);
  const smaller = /give --memory a smaller size/;
  refused([
    ["0", () => size("size=0"), /give --memory a size/],
    ["512 KiB", () => size("size=512K"), /give --memory a larger size/],
    ["less than the kernel", () => size("size=2M"), /does not fit guest RAM: give --memory a larger size/],
    ["no multiple of a page", () => size("size=536870913"), /not a multiple of its page size of 4096 bytes/],
    ["beyond the address space", () => size("size=65536G"), smaller],
    ["beyond 53 bits", () => size("size=17179869183G"), smaller],
    ["more than KVM takes", () => size("size=60000G"), smaller],
    ["an address space without room", () => [...vm("--cpus", "boot=1,max_phys_bits=20")], /larger max_phys_bits/],
    ["no huge pages", () => size("size=256G,hugepages=on"), /too few free huge pages \(raise vm.nr_hugepages\)/],
    ["huge pages of 3 MiB", () => size("hugepages=on,hugepage_size=3M"), /3145728 is not a power of two/],
    ["huge pages that no host has", () => size("hugepages=on,hugepage_size=4K"), /no huge pages of 4096 bytes/],
    ["no multiple of a huge page", () => size("size=513M,hugepages=on,hugepage_size=2M"), /page size of 2097152/],
    ["no multiple of the host's huge page", () => size("size=513M,hugepages=on"), /multiple of the huge page size/],
    ["shared and mergeable", () => size("shared=on,mergeable=on"), /shared and mergeable exclude each other/],
    ["no number", () => size("size=lots"), /cannot convert 'lots' given for 'size': expected a size/],
  ]);

  test.skipIf(canOvercommit())("more than the host has, reserved", () => {
    const gib = Math.ceil((totalmem() * 4) / GIB);
    return expectRefusal(size(`size=${gib}G,reserve=on`), /cannot reserve that much \(reserve=off maps it lazily\)/);
  });
});

describe("--cpus", () => {
  const cpus = (text: string): string[] => vm("--cpus", text);
  refused([
    ["none", () => cpus("boot=0"), /give --cpus boot=1 or more/],
    ["more than KVM allows", () => cpus("boot=8192"), /more than the \d+ that KVM allows here: lower max and boot/],
    ["more than any KVM allows", () => cpus("boot=8193"), /exceed the limit of 8192/],
    ["more than 32 bits", () => cpus("boot=4294967296"), /cannot convert '4294967296' given for 'boot'/],
    ["max below boot", () => cpus("boot=2,max=1"), /max must not be below boot/],
    ["a topology of another size", () => cpus("boot=2,topology=1:4:1:1"), /makes 4 CPUs.*must be equal/],
    ["a topology with a 0", () => cpus("boot=2,topology=0:2:1:1"), /threads_per_core is 0/],
    ["four threads a core", () => cpus("boot=4,topology=4:1:1:1"), /4 threads per core, at most 2 are possible/],
    ["a topology of three numbers", () => cpus("boot=1,topology=1:1:1"), /expected four numbers/],
    ["host CPUs that are not there", () => cpus("boot=1,affinity=[0@[8000]]"), /give affinity CPUs that this host has/],
    ["host CPUs that cannot be", () => cpus("boot=1,affinity=[0@[99999999]]"), /give affinity CPUs that this host has/],
    ["a feature that is not known", () => cpus("features=speed"), /unknown CPU feature 'speed', known: amx/],
  ]);
});

describe("--serial, --console and --debug-console", () => {
  for (const [option, off] of [
    ["--serial", "--console"],
    ["--console", "--serial"],
    ["--debug-console", "--serial"],
  ] as const) {
    const given = (value: string): string[] => ["--kernel", kernel, off, "off", option, value];
    refused([
      [`${option} into a missing folder`, () => given(`file=${fixture("missing/x")}`), /its folder does not exist/],
      [`${option} into a folder`, () => given(`file=${fixture("folder")}`), /give the path of a file/],
      [`${option} into a socket`, () => given(`file=${fixture("socket")}`), /it is a socket/],
      [`${option} without a path`, () => given("file="), /give file=<value>/],
      [`${option} without a mode`, () => given(""), new RegExp(`error in the value of ${option}`)],
      [`${option} with an unknown mode`, () => given("printer"), /unknown option 'printer', expected one of: off,/],
    ]);
  }

  for (const [option, off] of [
    ["--serial", "--console"],
    ["--console", "--serial"],
  ] as const) {
    const given = (path: string): string[] => ["--kernel", kernel, off, "off", option, `socket=${path}`];
    const nowhere = new RegExp(`${option}: the output of the guest has nowhere to go`);
    refused([
      [`${option} at a socket in a missing folder`, () => given(fixture("missing/x")), /its folder must exist/],
      [`${option} at a socket that another has`, () => given(join(specials, "socket")), /another process listens at/],
      [`${option} at a file that is no socket`, () => given(fixture("disk.raw")), /exists and is no socket: remove it/],
      [`${option} at a path too long for a socket`, () => given(fixture("x".repeat(100))), /at most 107 are possible/],
      [`${option} at a folder`, () => given(fixture("folder")), nowhere],
      [`${option} at no path`, () => given(""), /give socket=<value>/],
    ]);
  }
  refused([
    [
      "a socket for two consoles",
      () => ["--kernel", kernel, "--serial", "socket=twice", "--console", "socket=twice"],
      /--console: .*\n.*another process listens at twice/,
    ],
    ["a debug console at a socket", () => vm("--debug-console", "socket=x"), /unknown option 'socket'/],
    [
      "an error after a pseudo-terminal is made",
      () => ["--kernel", fixture("missing"), "--serial", "pty", "--console", "socket=x"],
      /cannot open the kernel/,
    ],
  ]);

  test("a configuration that is refused does not cost what a file holds", async () => {
    const file = join(specials, "kept");
    writeFileSync(file, "kept");
    await expectRefusal([...vm("--cpus", "boot=2,max=1"), "--debug-console", `file=${file}`], /must not be below boot/);
    expect(readFileSync(file, "utf8")).toBe("kept");
  });

  test("a socket that an earlier process has left is no obstacle, and goes at the end", async () => {
    const path = join(specials, "stale");
    const script = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`;
    Bun.spawnSync([process.execPath, "-e", script]);
    expect(existsSync(path)).toBeTrue();
    const outcome = await runCommand(["--kernel", kernel, "--console", "off", "--serial", `socket=${path}`]);
    expect(outcome).toMatchObject({ exitCode: 0, stderr: "", left: [] });
    expect(existsSync(path)).toBeFalse();
  });

  test("a FIFO that nobody reads holds up nobody", async () => {
    const outcome = await runCommand(["--kernel", kernel, "--console", "off", "--serial", `file=${fixture("fifo")}`]);
    expect(outcome).toMatchObject({ exitCode: 0, stderr: "", left: [] });
  });
});

describe("--rng", () => {
  refused([
    ["missing", () => vm("--rng", `src=${fixture("missing")}`), /give --rng another src\nENOENT/],
    ["a directory", () => vm("--rng", `src=${fixture("folder")}`), /give --rng another src, which is no directory/],
    ["a socket", () => vm("--rng", `src=${fixture("socket")}`), /give --rng another src/],
  ]);
});

describe("--balloon, --rtc and --watchdog", () => {
  const slot9 = ["--balloon", "size=1M,pci_device_id=9", "--rtc", "pci_device_id=9"];
  refused([
    ["all the RAM", () => vm("--memory", "size=64M", "--balloon", "size=64M"), /67108864 is not below the guest's RAM/],
    ["less than nothing", () => vm("--balloon", "size=-1"), /expected a size in bytes/],
    ["two in one slot", () => vm(...slot9), /PCI slot 9 .* is taken: give another pci_device_id/],
    ["one id for two", () => vm("--balloon", "size=1M,id=x", "--rtc", "id=x"), /'x' is used twice/],
  ]);
});

describe("--pmem", () => {
  const pmem = (name: string, more = ""): string[] =>
    vm("--pmem", `file=${name.startsWith("/") ? name : fixture(name)}${more}`);
  const neither = /is neither a file nor a block device: give --pmem one/;
  refused([
    ["missing", () => pmem("missing"), /there is no such file/],
    ["below a file", () => pmem("empty/below"), /there is no such file/],
    ["no path", () => vm("--pmem", "size=2M"), /give file=<value>/],
    ["a FIFO", () => pmem("fifo"), /is a FIFO: give --pmem one/],
    ["a socket", () => pmem("socket"), /it is a socket/],
    ["/dev/zero", () => pmem("/dev/zero", ",size=2M"), neither],
    ["an empty file", () => pmem("empty"), /has no bytes: give --pmem a file of 2 MiB or more/],
    ["a size of 0", () => pmem("initramfs.cpio", ",size=0"), /has no bytes/],
    ["1 MiB", () => pmem("disk.raw"), /1048576 bytes for .* is not a multiple of 2 MiB: make it 2097152/],
    ["a size of 3 MiB", () => pmem("initramfs.cpio", ",size=3M"), /is not a multiple of 2 MiB: make it 4194304/],
    ["more than the file", () => pmem("disk.raw", ",size=2M"), /less than the size of 2097152.*truncate -s 2097152/],
    ["a directory without size", () => pmem("folder"), /is a directory: give --pmem a size/],
    ["a directory, writes discarded", () => pmem("folder", ",discard_writes=on"), /is a directory: give --pmem a size/],
    ["a directory without room", () => pmem("/proc", ",size=2M"), /temporary file in \/proc: give --pmem another/],
    ["more than there are addresses", () => pmem("folder", ",size=1099511627774M"), /give --pmem a smaller size/],
    ["a long path", () => pmem(`/${"x".repeat(5000)}`), /ENAMETOOLONG/],
    ["an id twice", () => vm("--pmem", "file=f,id=a", "file=g,id=a"), /'a' is used twice/],
  ]);
});

describe("--ivshmem", () => {
  const shared = (name: string, size: string): string[] => vm("--ivshmem", `path=${fixture(name)},size=${size}`);
  refused([
    ["missing", () => shared("missing", "1M"), /there is no file/],
    ["a directory", () => shared("folder", "4K"), /is a directory: give --ivshmem a file/],
    ["a FIFO", () => shared("fifo", "4K"), /has 0 bytes, less than the size of 4096/],
    ["shorter than its size", () => shared("disk.raw", "2M"), /has 1048576 bytes, less than the size of 2097152/],
    ["no power of two", () => shared("disk.raw", "3K"), /3072 is not a power of two/],
    ["less than a page", () => shared("disk.raw", "2K"), /less than a page: give 4K or more/],
  ]);
});

describe("--tpm", () => {
  const tpm = (path: string): string[] => vm("--tpm", `socket=${path}`);
  const advice = /give --tpm the control socket of a running swtpm/;
  refused([
    ["missing", () => tpm(fixture("missing")), advice],
    ["a file", () => tpm(fixture("random")), advice],
    ["a directory", () => tpm(fixture("folder")), advice],
    ["no path", () => tpm(""), /give socket=<value>/],
    ["a long path", () => tpm("x".repeat(108)), /cannot be the path of a socket: 1 to 107 bytes are possible/],
  ]);
});

describe("--fw-cfg-config", () => {
  const items = (...list: readonly string[]): string[] =>
    vm("--fw-cfg-config", `initramfs=off,cmdline=off,items=[${list.join(":")}]`);
  refused([
    ["a name of 56 bytes", () => items(`name=${"n".repeat(56)},string=x`), /1 to 55 bytes are possible/],
    ["no name", () => items("name=,string=x"), /give name=<value>|needs another name/],
    ["a name twice", () => items("name=a,string=x", "name=a,string=y"), /two fw_cfg items with the name 'a'/],
    ["a name of ours", () => items("name=etc/e820,string=x"), /two fw_cfg items with the name 'etc\/e820'/],
    ["a missing file", () => items(`name=a,file=${fixture("missing")}`), /fw_cfg item 'a': there is no such file/],
    ["a directory", () => items(`name=a,file=${fixture("folder")}`), /is a directory: give fw_cfg item 'a' a file/],
    ["a FIFO", () => items(`name=a,file=${fixture("fifo")}`), /is a FIFO: give fw_cfg item 'a' one/],
    ["file and string", () => items("name=a,file=f,string=s"), /needs a file or a string, and not both/],
    ["neither", () => items("name=a"), /needs a file or a string/],
    ["an initramfs that is not there", () => vm("--fw-cfg-config", "cmdline=off"), /give --initramfs or/],
  ]);
});

describe("options of the VMM", () => {
  refused([
    ["a log in a missing folder", () => vm("--log-file", fixture("missing/log")), /its folder does not exist/],
    ["a log that is a folder", () => vm("--log-file", fixture("folder")), /give the path of a file/],
    ["a log without a path", () => vm("--log-file", ""), /cannot create the log file ''\nthe path is empty/],
    ["a log format that is not closed", () => vm("--log-format", "{msg"), /unclosed '{'/],
    ["a log format with an unknown token", () => vm("--log-format", "{weather}"), /unknown token '{weather}'/],
    ["an API socket in a missing folder", () => ["--api-socket", fixture("missing/api")], /its folder must exist/],
    ["an API socket that is no number", () => ["--api-socket", "fd=x"], /cannot convert 'x' given for 'fd'/],
    ["an API socket that is not open", () => ["--api-socket", "fd=900"], /a listening socket that this process has/],
    ["events into a missing folder", () => vm("--event-monitor", `path=${fixture("missing/e")}`), /does not exist/],
    ["a UUID that is none", () => vm("--platform", "system_uuid=x"), /is not a UUID: write 32 hexadecimal digits/],
    ["an id twice", () => vm("--rng", "id=a", "--console", "null,id=a").toSpliced(4, 2), /'a' is used twice/],
    ["firmware and kernel", () => vm("--firmware", kernel), /exclude each other/],
  ]);

  // With fewer the runtime itself gives up before any of our code runs, and says the same in its words.
  for (const limit of [12, 30])
    test(`no more than ${limit} open files`, () =>
      expectRefusal(vm(), /EMFILE: raise the limit of open files/, {
        prefix: ["sh", "-c", `ulimit -n ${limit}; exec "$@"`, "sh"],
      }));

  const long = "x".repeat(5000);
  refused([
    ["a log with a long path", () => vm("--log-file", long), /a path of 5000 bytes is too long/],
    ["a console with a long path", () => vm("--debug-console", `file=${long}`), /a path of 5000 bytes is too long/],
    ["events to a long path", () => vm("--event-monitor", `path=${long}`), /a path of 5000 bytes is too long/],
    ["an API socket with a long path", () => ["--api-socket", long], /has 5000 bytes, at most 107 are possible/],
    ["a kernel with a long path", () => ["--kernel", long], /ENAMETOOLONG/],
    ["a disk with a long path", () => disk(`/${long}`), /ENAMETOOLONG/],
    ["entropy from a long path", () => vm("--rng", `src=${long}`), /ENAMETOOLONG/],
  ]);

  test("the first that is wrong is told: first the VMM's, then KVM, then the VM's", async () => {
    const wrong = ["--cpus", "boot=x"];
    await expectRefusal([...vm(...wrong), "--log-file", fixture("folder")], /cannot create the log file/);
    await expectRefusal([...vm(...wrong), "--log-file", fixture("folder"), "--api-socket", "fd=x"], /--api-socket/);
  });
});

describe("KVM", () => {
  /** Runs the command in a /dev of its own that `setUp` makes, with the fixtures in /dev/fixtures. */
  const inDev = (setUp: string, as = ""): CommandOptions => ({
    prefix: [
      ...["unshare", "-m", "--propagation", "private", "sh", "-e", "-c"],
      `kvm="$(stat -c '0x%t 0x%T' /dev/kvm)"
      mount -t tmpfs -o mode=755 dev /dev
      mkdir /dev/fixtures
      touch /dev/vmm
      mount --bind "$1" /dev/vmm
      mount --bind "$2" /dev/fixtures
      for node in "null 1 3" "zero 1 5" "urandom 1 9"; do mknod -m 666 /dev/\${node%% *} c \${node#* }; done
      ${setUp}
      shift 3
      exec ${as} /dev/vmm "$@"`,
      ...["sh", vmmPath(), fixtures],
    ],
    cwd: "/",
  });
  const nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups";
  const everyones = "mknod -m 666 /dev/kvm c $kvm";
  const inVm = (...more: readonly string[]): string[] => [...["--kernel", "/dev/fixtures/kernel"], ...more];
  // Why the rest is skipped elsewhere: only root can make a /dev of its own.
  const testAsRoot = test.skipIf(!canUnshare());

  beforeAll(async () => {
    await runText(["cp", kernel, fixture("kernel")]);
  });

  testAsRoot("no /dev/kvm", () => expectRefusal(inVm(), /load the kvm_intel or kvm_amd module/, inDev("")));
  testAsRoot("something else is /dev/kvm", () =>
    expectRefusal(inVm(), /\/dev\/kvm is not KVM/, inDev("mknod -m 666 /dev/kvm c 1 3")),
  );
  testAsRoot("a file is /dev/kvm", () => expectRefusal(inVm(), /\/dev\/kvm is not KVM/, inDev("touch /dev/kvm")));
  testAsRoot("no permission on /dev/kvm", () =>
    expectRefusal(inVm(), /add the user to the group that owns it/, inDev("mknod -m 600 /dev/kvm c $kvm", nobody)),
  );
  testAsRoot("KVM is missed before the VM's options are read", () =>
    expectRefusal(inVm("--cpus", "boot=x"), /load the kvm_intel or kvm_amd module/, inDev("")),
  );

  testAsRoot("a user who may open /dev/kvm runs a VM, and is told which files they may not read", async () => {
    const asNobody = inDev(everyones, nobody);
    const { stderr, ...outcome } = await runCommand(inVm("--serial", "tty", "--console", "off"), asNobody);
    expect({ ...outcome, stderr }).toMatchObject({ exitCode: 0, stderr: "", left: [] });
    const unreadable = "/dev/fixtures/secret.elf";
    await expectRefusal(["--kernel", unreadable], /permission denied, make it readable for the user/, asNobody);
    await expectRefusal(["--firmware", unreadable], /permission denied, make it readable for the user/, asNobody);
    await expectRefusal(inVm("--initramfs", unreadable), /permission denied, make it readable/, asNobody);
    const secret = "path=/dev/fixtures/secret.raw,image_type=raw";
    await expectRefusal(inVm("--disk", secret), /this user may not read and write it \(readonly=on/, asNobody);
    await expectRefusal(inVm("--disk", `${secret},readonly=on`), /this user may not read it/, asNobody);
    await expectRefusal(inVm("--disk", secret.replace("secret", "disk")), /may not read and write it/, asNobody);
    await expectRefusal(inVm("--rng", "src=/dev/fixtures/secret.raw"), /give --rng another src/, asNobody);
    await expectRefusal(
      inVm("--pmem", "file=/dev/fixtures/disk.raw"),
      /it may not be written.*discard_writes/,
      asNobody,
    );
    await expectRefusal(inVm("--serial", "file=/dev/fixtures/x"), /this user may not write there/, asNobody);
    await expectRefusal(inVm("--log-file", "/dev/fixtures/x"), /this user may not write there/, asNobody);
    await expectRefusal(inVm("--api-socket", "/dev/fixtures/x"), /user must be able to write there/, asNobody);
  });
});

/** How to ask for each feature that may be missing. */
const ASKING: Readonly<Record<string, readonly string[]>> = {
  "--gdb": ["--gdb", "path=g"],
  "--dbus-service-name": ["--dbus-service-name", "n"],
  "--dbus-object-path": ["--dbus-object-path", "/o"],
  "--dbus-system-bus": ["--dbus-system-bus"],
  "--restore": ["--restore", "source_url=file:///s"],
  "--igvm": ["--igvm", "g"],
  "--host-data": ["--host-data", "h"],
  "--cpus max above boot": ["--cpus", "boot=1,max=2"],
  "--cpus kvm_hyperv": ["--cpus", "kvm_hyperv=on"],
  "--cpus features": ["--cpus", "features=amx"],
  "--memory hotplug_size": ["--memory", "hotplug_size=1G"],
  "--memory hotplugged_size": ["--memory", "hotplug_size=1G,hotplugged_size=1G"],
  "--memory hotplug_method=virtio-mem": ["--memory", "hotplug_method=virtio-mem"],
  "--memory-zone": ["--memory-zone", "id=z"],
  "--numa": ["--numa", "guest_numa_id=0,cpus=[0]"],
  "--platform num_pci_segments": ["--platform", "num_pci_segments=2"],
  "--platform iommu_segments": ["--platform", "num_pci_segments=2,iommu_segments=[1]"],
  "--platform iommu_address_width": ["--platform", "iommu_address_width=48"],
  "--platform iommufd": ["--platform", "iommufd=on"],
  "--platform iommufd_fd": ["--platform", "iommufd_fd=3"],
  "--platform vfio_p2p_dma=off": ["--platform", "vfio_p2p_dma=off"],
  "--platform sev_snp": ["--igvm", "g", "--platform", "sev_snp=on"],
  "--pci-segment": ["--pci-segment", "pci_segment=0"],
  "--disk vhost_user": ["--memory", "shared=on", "--disk", "vhost_user=on,socket=s"],
  "--disk socket": ["--disk", "socket=s"],
  "--disk rate limits": ["--disk", "path=p,bw_size=1,bw_refill_time=1"],
  "--disk rate_limit_group": [
    "--rate-limit-group",
    "id=g,bw_size=1,bw_refill_time=1",
    "--disk",
    "path=p,rate_limit_group=g",
  ],
  "--disk image_type=vmdk": ["--disk", "path=p,image_type=vmdk"],
  "--disk iommu": ["--disk", "path=p,iommu=on"],
  "--rate-limit-group": ["--rate-limit-group", "id=g,bw_size=1,bw_refill_time=1"],
  "--net vhost_user": ["--memory", "shared=on", "--net", "vhost_user=on,socket=s"],
  "--net socket": ["--net", "socket=s"],
  "--net rate limits": ["--net", "tap=t,ops_size=1,ops_refill_time=1"],
  "--net iommu": ["--net", "tap=t,iommu=on"],
  "--fs": ["--memory", "shared=on", "--fs", "tag=t,socket=s"],
  "--pmem iommu": ["--pmem", "file=f,iommu=on"],
  "--vdpa": ["--vdpa", "path=p"],
  "--balloon iommu": ["--balloon", "size=1M,iommu=on"],
  "--rtc iommu": ["--rtc", "iommu=on"],
  "--generic-vhost-user": ["--memory", "shared=on", "--generic-vhost-user", "device_type=net,socket=s,queue_sizes=[2]"],
  "--device": ["--device", "path=p"],
  "--user-device": ["--memory", "shared=on", "--user-device", "socket=s"],
  "--ivshmem": ["--ivshmem", "path=FIXTURES/disk.raw,size=1M"],
  "--vsock iommu": ["--vsock", "cid=3,socket=s,iommu=on"],
  "--rng iommu": ["--rng", "iommu=on"],
  "--console iommu": ["--console", "null,iommu=on"],
};

describe("what is not supported is refused by name", () => {
  for (const feature of unsupportedFeatures())
    test(feature, () => {
      const asking = ASKING[feature]?.map((arg) => arg.replace("FIXTURES", fixtures));
      if (asking === undefined) throw new Error(`this test does not know how to ask for ${feature}`);
      const payload = feature === "--restore" ? [] : ["--kernel", kernel];
      const text = new RegExp(`^not supported by this version: (.*, )?${RegExp.escape(feature)}(,|$)`);
      return expectRefusal([...payload, ...asking], text);
    });
});

describe("wrong usage: exit 2, an error on stderr, nothing on stdout", () => {
  const cases: readonly (readonly [what: string, args: readonly string[], expected: RegExp])[] = [
    ["an unknown option", ["--kernle", "k"], /^error: unexpected argument '--kernle'.*--kernel/],
    ["an unknown short option", ["-x"], /^error: unexpected argument '-x'/],
    ["a positional argument", ["vmlinux"], /^error: unexpected argument 'vmlinux'/],
    ["an option without its value", ["--kernel"], /^error: a value is required for '--kernel'/],
    ["a value that looks like an option", ["--kernel", "-k"], /^error: a value is required for '--kernel'/],
    ["an option twice", ["--kernel", "a", "--kernel", "b"], /^error: .*'--kernel' cannot be used multiple times/],
    ["a flag twice", ["--kernel", "a", "--watchdog", "--watchdog"], /^error: .*'--watchdog' cannot be used/],
    ["a flag with a value", ["--kernel", "a", "--watchdog=on"], /^error: .*'--watchdog'/],
    ["a VM without a payload", ["--cpus", "boot=2"], /^error: --cpus needs something to boot/],
    ["a wrong choice", ["--seccomp", "maybe"], /^error: invalid value 'maybe' for '--seccomp'/],
    ["--version beside an error", ["--version", "--nonsense"], /^error: unexpected argument '--nonsense'/],
    ["no arguments", [], /--kernel/],
  ];
  for (const [what, args, expected] of cases)
    test(what, async () => {
      const outcome = await runCommand(args, { cwd: empty });
      expect(outcome).toMatchObject({ exitCode: 2, stdout: "", left: [] });
      expect(outcome.stderr).toMatch(expected);
      expect(readdirSync(empty)).toEqual([]);
    });

  test("help and the version succeed, on stdout", async () => {
    for (const option of ["--help", "-h", "--version", "-V"]) {
      const outcome = await runCommand([option]);
      expect(outcome).toMatchObject({ exitCode: 0, stderr: "" });
      expect(outcome.stdout).toMatch(/cloud-hypervisor/);
    }
  });
});

test("files are left as they were", () => {
  expect(statSync(fixture("disk.raw")).size).toBe(DISK_BYTES);
  expect(readFileSync(fixture("disk.raw")).every((byte) => byte === 0)).toBeTrue();
});
