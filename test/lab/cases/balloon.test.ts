import { expect, test } from "bun:test";
import { Api, residentMib } from "../../payload/api.ts";
import { Guest } from "../guest.ts";
import { assetsOf, CASE_TIMEOUT_MS, unexpectedWarnings, vmm, Workspace } from "./support.ts";

const MIB = 1 << 20;
const RAM_MIB = 224;
const DATA_MIB = 64;
/** How much of the data may stay with the guest: kernels keep some pages for themselves. */
const KEPT_MIB = 16;
const LIMIT_MS = 60_000;
const LOOK_EVERY_MS = 200;

/** Waits until a figure is as it should be. */
async function until(
  what: string,
  figure: () => number | Promise<number>,
  good: (now: number) => boolean,
): Promise<void> {
  const deadline = performance.now() + LIMIT_MS;
  for (;;) {
    const now = await figure();
    if (good(now)) return;
    if (performance.now() > deadline) throw new Error(`${what}: still ${now}`);
    await Bun.sleep(LOOK_EVERY_MS);
  }
}

/** Waits until the host has got memory back: until no more than so much is with the VMM. */
const untilResident = (guest: Guest, mostMib: number): Promise<void> =>
  until(
    `at most ${mostMib} MiB with the VMM`,
    () => residentMib(guest.vmmPid),
    (now) => now <= mostMib,
  );

async function start(workspace: Workspace, balloon: string): Promise<{ guest: Guest; api: Api }> {
  const socket = workspace.path("api.sock");
  const guest = await Guest.start(vmm, {
    assets: await assetsOf("6.12"),
    kernelFormat: "vmlinux",
    vcpus: 1,
    memoryMiB: RAM_MIB,
    console: "hvc0",
    disks: [],
    options: ["--balloon", balloon, "--api-socket", `path=${socket}`],
  });
  await guest.ready();
  return { guest, api: new Api(socket) };
}

/** A guest that has used much memory, and does not use it any more. @returns what is with the VMM, in MiB */
async function useMemory(guest: Guest): Promise<number> {
  await guest.run("mount -o remount,size=95% /tmp");
  await guest.run(`dd if=/dev/zero of=/tmp/data bs=1M count=${DATA_MIB} 2>/dev/null`);
  const used = await residentMib(guest.vmmPid);
  expect(used).toBeGreaterThan(DATA_MIB);
  await guest.run("rm /tmp/data");
  return used;
}

test.concurrent(
  "an inflated balloon gives memory back to the host, and a guest that runs out of memory takes it again",
  async () => {
    await using workspace = await Workspace.make();
    const started = await start(workspace, "size=0,deflate_on_oom=on,statistics=on");
    await using guest = started.guest;
    using api = started.api;
    const used = await useMemory(guest);
    expect(api.info.memory_actual_size).toBe(RAM_MIB * MIB);
    api.put("vm.resize", { desired_balloon: DATA_MIB * MIB });
    const left = (RAM_MIB - DATA_MIB) * MIB;
    await until(
      `the guest has ${left} bytes`,
      () => api.info.memory_actual_size,
      (now) => now === left,
    );
    await untilResident(guest, used - DATA_MIB + KEPT_MIB);
    // More than there is without the balloon's, which no swap and no cache can make room for.
    const availableKib = Number(await guest.run("awk '/^MemAvailable:/ { print $2 }' /proc/meminfo"));
    const needed = Math.ceil(availableKib / 1024) + DATA_MIB / 2;
    await guest.run(`dd if=/dev/zero of=/tmp/data bs=1M count=${needed} 2>/dev/null`);
    expect(api.info.memory_actual_size).toBeGreaterThan(left + 16 * MIB);
    const killed = await guest.try("dmesg | grep -c 'Out of memory'");
    expect(killed.output).toBe("0");
    expect(await guest.powerOff()).toBe(0);
  },
  CASE_TIMEOUT_MS,
);

test.concurrent(
  "free pages that the guest reports go back to the host",
  async () => {
    await using workspace = await Workspace.make();
    const started = await start(workspace, "size=0,free_page_reporting=on");
    await using guest = started.guest;
    using _api = started.api;
    const used = await useMemory(guest);
    await untilResident(guest, used - DATA_MIB + KEPT_MIB);
    expect(await unexpectedWarnings(guest)).toEqual([]);
    expect(await guest.powerOff()).toBe(0);
  },
  CASE_TIMEOUT_MS,
);
