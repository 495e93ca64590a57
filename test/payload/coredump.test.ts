import { expect, test } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { ApiVmm } from "./api-vmm.ts";

const PT_LOAD = 1;
const PT_NOTE = 4;
const PATTERN_BYTES = 200_000;
/** Beyond the hole below 4 GiB, so that there is RAM on both sides of it. */
const RAM_BYTES = 5 * 2 ** 30;
/** What the guest and its firmware tables touch is far less. */
const MAX_STORED_BYTES = 64 << 20;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly size: number;
}

/** A core file as its specification has it, read without the code that wrote it. */
async function readCore(path: string) {
  const file = await open(path);
  const at = async (offset: number, length: number): Promise<DataView> => {
    const bytes = new Uint8Array(length);
    const { bytesRead } = await file.read(bytes, 0, length, offset);
    expect(bytesRead).toBe(length);
    return new DataView(bytes.buffer);
  };
  const header = await at(0, 64);
  expect([header.getUint32(0), header.getUint16(16, true), header.getUint16(18, true)]).toEqual([0x7f454c46, 4, 62]);
  const segments: Segment[] = [];
  for (let i = 0; i < header.getUint16(56, true); i++) {
    const segment = await at(Number(header.getBigUint64(32, true)) + i * 56, 56);
    const u64 = (offset: number): number => Number(segment.getBigUint64(offset, true));
    expect(u64(16)).toBe(0);
    expect(u64(32)).toBe(u64(40));
    segments.push({ type: segment.getUint32(0, true), offset: u64(8), address: u64(24), size: u64(32) });
  }
  const notes: { name: string; type: number; description: DataView }[] = [];
  const [noteSegment] = segments;
  if (noteSegment?.type !== PT_NOTE) throw new Error("the first segment is not the notes");
  const bytes = await at(noteSegment.offset, noteSegment.size);
  for (let i = 0; i < bytes.byteLength; ) {
    const [nameBytes, size, type] = [0, 4, 8].map((offset) => bytes.getUint32(i + offset, true));
    if (nameBytes === undefined || size === undefined || type === undefined) throw new Error("no note");
    const name = Buffer.from(bytes.buffer, i + 12, nameBytes - 1).toString();
    const from = i + 12 + ((nameBytes + 3) & ~3);
    notes.push({ name, type, description: new DataView(bytes.buffer, from, size) });
    i = from + ((size + 3) & ~3);
  }
  return { loads: segments.filter(({ type }) => type === PT_LOAD), notes, at, close: () => file.close() };
}

test("the memory and the registers of a guest are in its core file, which takes no more room than what was touched", async () => {
  await using vmm = await ApiVmm.start();
  const path = join(vmm.folder, "core");
  const destination = { destination_url: `file://${path}` };
  expect(vmm.ask("PUT", "vm.coredump", destination).status).toBe(500);
  for (const shared of [false, true]) {
    const more = { cpus: { boot_vcpus: 2, max_vcpus: 2 }, memory: { size: RAM_BYTES, shared } };
    vmm.put("vm.create", await vmm.config("coredump", "", more));
    expect(vmm.ask("PUT", "vm.coredump", destination).status).toBe(500);
    expect(existsSync(path)).toBeFalse();
    vmm.put("vm.boot");
    const said = await vmm.guestLine("READY");
    const [pattern = 0, spin = 0] = (/PATTERN (\w+) SPIN (\w+)/.exec(said) ?? [])
      .slice(1)
      .map((hex) => Number(`0x${hex}`));
    // A pause waits for all threads, the last of which may still have been on its way.
    vmm.put("vm.pause");
    vmm.put("vm.resume");
    const before = vmm.resources;
    vmm.put("vm.coredump", destination);
    expect(vmm.info.state).toBe("Running");
    const { fds, threads } = vmm.resources;
    expect({ fds, threads }).toEqual({ fds: before.fds, threads: before.threads });

    const core = await readCore(path);
    expect(core.loads.map(({ address }) => address)).toEqual([0, 2 ** 32]);
    expect(core.loads.reduce((sum, { size }) => sum + size, 0)).toBe(RAM_BYTES);
    const last = core.loads.at(-1);
    const { mode, size, blocks } = statSync(path);
    expect({ mode: mode & 0o777, size }).toEqual({ mode: 0o600, size: (last?.offset ?? 0) + (last?.size ?? 0) });
    expect(blocks * 512).toBeLessThan(MAX_STORED_BYTES);
    const found = await core.at((core.loads[0]?.offset ?? 0) + pattern, PATTERN_BYTES);
    const wanted = Uint8Array.from({ length: PATTERN_BYTES }, (_, i) => i * 7 + 3);
    expect(Buffer.compare(new Uint8Array(found.buffer), wanted)).toBe(0);

    expect(core.notes.map(({ name, type, description }) => [name, type, description.byteLength])).toEqual([
      ["CORE", 1, 336],
      ["CORE", 1, 336],
      ["QEMU", 0, 440],
      ["QEMU", 0, 440],
    ]);
    const [status, , state] = core.notes.map(({ description }) => description);
    // pr_pid, and the registers r12, rsi and rip of struct user_regs_struct from byte 112 on.
    expect(status?.getUint32(32, true)).toBe(1);
    const register = (index: number) => status?.getBigUint64(112 + index * 8, true);
    expect([register(3), register(13), register(16)]).toEqual([0x1122334455667788n, 0x0123456789abcdefn, BigInt(spin)]);
    // QEMUCPUState: version and size, rsi, r12 and rip, and that the code segment is 64-bit code, and paging is on.
    expect([state?.getUint32(0, true), state?.getUint32(4, true)]).toEqual([1, 440]);
    expect(state?.getBigUint64(8 + 4 * 8, true)).toBe(0x0123456789abcdefn);
    expect(state?.getBigUint64(8 + 12 * 8, true)).toBe(0x1122334455667788n);
    expect(state?.getBigUint64(8 + 16 * 8, true)).toBe(BigInt(spin));
    expect((state?.getUint32(152 + 8, true) ?? 0) & 0x20_9800).toBe(0x20_9800);
    expect((state?.getBigUint64(392, true) ?? 0n) >> 31n).toBe(1n);
    await core.close();

    // A file that is there is nobody's to write over, and a VM that is paused stays so.
    const contents = statSync(path);
    vmm.put("vm.pause");
    const again = vmm.ask("PUT", "vm.coredump", destination);
    expect([again.status, again.body]).toEqual([500, expect.stringContaining("there is one of that name")]);
    expect(statSync(path).mtimeMs).toBe(contents.mtimeMs);
    expect(vmm.ask("PUT", "vm.coredump", { destination_url: path }).body).toContain("destination_url");
    vmm.put("vm.coredump", { destination_url: `file://${path}.paused` });
    expect(statSync(`${path}.paused`).size).toBe(size);
    expect(vmm.info.state).toBe("Paused");
    vmm.put("vm.delete");
    for (const name of [path, `${path}.paused`]) await Bun.file(name).delete();
  }
  expect(vmm.events.slice(7, 12)).toEqual(["vm:coredumping", "vm:pausing", "vm:paused", "vm:resuming", "vm:resumed"]);
}, 60_000);

test("a core file that there is no room for is removed, and the guest goes on", async () => {
  await using vmm = await ApiVmm.start();
  vmm.put("vm.create", await vmm.config("coredump"));
  vmm.put("vm.boot");
  await vmm.guestLine("READY");
  expect(Bun.spawnSync(["prlimit", `--pid=${vmm.process.pid}`, "--fsize=100000"]).exitCode).toBe(0);
  const path = join(vmm.folder, "core");
  const { status, body } = vmm.ask("PUT", "vm.coredump", { destination_url: `file://${path}` });
  expect([status, body]).toEqual([500, expect.stringContaining("EFBIG")]);
  expect(existsSync(path)).toBeFalse();
  expect(vmm.info.state).toBe("Running");
});
