import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Sys } from "../../src/host/syscall-numbers.ts";
import { expectPass } from "./expect.ts";
import { PayloadProcess } from "./process.ts";
import { vmmArguments, vmmPath } from "./vmm.ts";
import { withoutSyscalls } from "./without-syscalls.ts";

const folder = mkdtempSync(join(tmpdir(), "block-engines-"));
afterAll(() => rmSync(folder, { recursive: true }));

const DISK_BYTES = 4 << 20;
const NO_URING = [Sys.io_uring_setup];
const NO_AIO = [Sys.io_setup];
const BY = { io_uring: "by io_uring", aio: "by Linux AIO", synchronous: "by synchronous system calls" } as const;

describe("what carries out the requests of a disk, and says so", () => {
  test.each([
    ["io_uring where there is all", "", [], BY.io_uring],
    ["Linux AIO where io_uring is disabled", ",_disable_io_uring=on", [], BY.aio],
    ["system calls where both are disabled", ",_disable_io_uring=on,_disable_aio=on", [], BY.synchronous],
    ["Linux AIO where the kernel denies io_uring", "", NO_URING, BY.aio],
    ["system calls where it denies both", "", [...NO_URING, ...NO_AIO], BY.synchronous],
    ["system calls where it denies io_uring and AIO is disabled", ",_disable_aio=on", NO_URING, BY.synchronous],
  ] as const)("%s", async (_name, options, denied, by) => {
    const disk = join(folder, "disk.raw");
    const log = join(folder, "log");
    rmSync(log, { force: true });
    await Bun.write(disk, new Uint8Array(DISK_BYTES));
    const args = await vmmArguments("blkbench", {
      cmdline: "op=randwrite qd=8 warm_ms=0 seconds=1",
      extra: ["--disk", `path=${disk},image_type=raw${options}`, "-v", "--log-file", log],
    });
    const command = [...(await withoutSyscalls(denied)), vmmPath(), ...args];
    expectPass(await new PayloadProcess(command, 60_000).outcome());
    const said = readFileSync(log, "utf8").match(/requests are carried out (.*)/g);
    expect(said).toEqual([`requests are carried out ${by}`]);
  });
});
