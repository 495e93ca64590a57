import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { FsRight } from "../../../../src/host/landlock.ts";
import { neededCapabilities } from "../../../../src/vmm/confinement/capabilities.ts";
import { pathNeeds } from "../../../../src/vmm/confinement/path-needs.ts";
import { qemu } from "../../block/qemu.ts";
import { configOf } from "../../config/command-line.ts";

const READ = FsRight.READ_FILE | FsRight.IOCTL_DEV;
const READ_WRITE = READ | FsRight.WRITE_FILE | FsRight.TRUNCATE;
const SOCKET_IN = FsRight.MAKE_SOCK | FsRight.REMOVE_FILE;
const FD_NET = "fd=[5],num_queues=2";

describe("what a configuration needs of the host's files", () => {
  const always = { "/k": READ, "/dev/urandom": READ };
  type Options = Parameters<typeof configOf>[0];
  const cases: readonly (readonly [Options, Readonly<Record<string, number>>])[] = [
    [{ console: ["off"] }, {}],
    [
      { firmware: ["/f"], initramfs: ["/i"] },
      { "/f": READ, "/i": READ },
    ],
    [{ disk: ["path=/d,image_type=raw"] }, { "/d": READ_WRITE }],
    [{ disk: ["path=/d,image_type=raw,readonly=on"] }, { "/d": READ }],
    [{ disk: ["path=/nothing,image_type=qcow2,backing_files=on"] }, { "/nothing": READ_WRITE }],
    [{ pmem: ["file=/p"] }, { "/p": READ_WRITE }],
    [{ pmem: ["file=/p,discard_writes=on"] }, { "/p": READ }],
    [{ rng: ["src=/dev/hwrng"] }, { "/dev/hwrng": READ }],
    [{ net: ["tap=a"] }, { "/dev/net/tun": READ_WRITE }],
    [{ net: [FD_NET] }, {}],
    [{ net: ["user=on"] }, {}],
    [{ vsock: ["cid=3,socket=/run/v/s"] }, { "/run/v": SOCKET_IN }],
    [{ serial: ["socket=/run/s/s"] }, { "/run/s": SOCKET_IN }],
    [
      { serial: ["file=/s"], console: ["file=/c"], "debug-console": ["file=/e"] },
      { "/s": READ_WRITE, "/c": READ_WRITE, "/e": READ_WRITE },
    ],
    [{ console: ["pty"] }, { "/dev/pts": READ_WRITE, "/dev/ptmx": READ_WRITE }],
    [{ serial: ["tty"], console: ["null"] }, {}],
    [{ ivshmem: ["path=/m,size=1M"] }, { "/m": READ_WRITE }],
    [{ tpm: ["socket=/run/t"] }, {}],
    [{ "fw-cfg-config": ["items=[name=opt/x,file=/x]"] }, { "/x": READ }],
  ];
  for (const [options, expected] of cases)
    test(JSON.stringify(options), () => {
      const config = configOf({ kernel: ["/k"], ...options });
      const needs = Object.fromEntries(pathNeeds(config).map(({ path, rights }) => [path, rights]));
      const { "/dev/urandom": urandom, ...rest } = { ...always, ...expected };
      const isOwnSource = config.rng.src === "/dev/urandom";
      expect(needs).toEqual(isOwnSource ? { ...rest, "/dev/urandom": urandom } : rest);
    });
});

test("the files that an image names: those below it are only read, its data is not", () => {
  using stack = new DisposableStack();
  const folder = stack.adopt(mkdtempSync(join(tmpdir(), "needs-")), (path) => rmSync(path, { recursive: true }));
  const [base, top] = [join(folder, "base"), join(folder, "top")];
  const create = (path: string, ...more: readonly string[]): string =>
    qemu("qemu-img", "create", "-q", "-f", "qcow2", "-o", `data_file=${path}.data`, ...more);
  create(base, base, "1M");
  create(top, "-b", "base", "-F", "qcow2", top);
  const rightsOf = (options: string): object =>
    Object.fromEntries(
      pathNeeds(configOf({ kernel: ["/k"], disk: [`path=${top},image_type=qcow2${options}`] }))
        .filter(({ path }) => path.startsWith(folder))
        .map(({ path, rights }) => [basename(path), rights]),
    );
  expect(rightsOf("")).toEqual({ top: READ_WRITE });
  const below = { base: READ, "base.data": READ };
  expect(rightsOf(",backing_files=on")).toEqual({ top: READ_WRITE, "top.data": READ_WRITE, ...below });
  expect(rightsOf(",backing_files=on,readonly=on")).toEqual({ top: READ, "top.data": READ, ...below });
});

describe("the capabilities that are kept", () => {
  const DAC_OVERRIDE = 1;
  const IPC_LOCK = 14;
  const NET_ADMIN = 12;
  const PASST = [5];
  const netsOf = (...net: string[]) => configOf({ kernel: ["/k"], net }).net;

  test.each([
    { what: "no network", nets: undefined, more: [] },
    { what: "a TAP", nets: netsOf("tap=a"), more: [NET_ADMIN] },
    { what: "a user network", nets: netsOf("user=on"), more: PASST },
    { what: "both", nets: netsOf("tap=a", "user=on"), more: [NET_ADMIN, ...PASST] },
    { what: "what the API may add", nets: "any" as const, more: [NET_ADMIN, ...PASST] },
  ])("$what", ({ nets, more }) => {
    const kept: number[] = [...neededCapabilities(nets)].sort((a, b) => a - b);
    expect(kept).toEqual([DAC_OVERRIDE, IPC_LOCK, ...more].sort((a, b) => a - b));
  });
});
