import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { scratchDir } from "../setup/cache.ts";
import { runText } from "../setup/exec.ts";
import { ApiVmm } from "./api-vmm.ts";
import { buildPayload } from "./build.ts";
import { canUnshare } from "./command.ts";
import { KVM_GROUP, withKvmGroup } from "./kvm-group.ts";
import { ofThreads } from "./threads.ts";
import { startOnVmm, vmmPath } from "./vmm.ts";

let folder: string;
beforeAll(async () => {
  folder = await scratchDir("landlock");
});
afterAll(() => rm(folder, { recursive: true }));

function makeDisk(path: string): string {
  writeFileSync(path, "");
  truncateSync(path, 16 << 20);
  return path;
}

const raw = (path: string, more: Readonly<Record<string, unknown>> = {}) => ({ path, image_type: "Raw", ...more });

/** A VM that is confined with rules of its own, its guest waiting for disks. */
async function confinedVm(rules: readonly { readonly path: string; readonly access: string }[]): Promise<ApiVmm> {
  const vmm = await ApiVmm.start("--no-shutdown");
  const landlock = { landlock_enable: true, landlock_rules: rules };
  vmm.put("vm.create", await vmm.config("hotplug", "", landlock));
  vmm.put("vm.boot");
  await vmm.guestLine("READY");
  return vmm;
}

test("no thread of a VMM has more privileges than it needs, while a guest runs", async () => {
  const disk = `path=${makeDisk(join(folder, "threads.raw"))},image_type=raw`;
  const vmm = await startOnVmm("reboot", { terminal: true, cpus: "boot=2", extra: ["--disk", disk] });
  await vmm.nextLine((line) => line.includes("BOOT"));
  const own = BigInt(`0x${ofThreads(process.pid, "CapPrm")[0]}`);
  // DAC_OVERRIDE and IPC_LOCK: no network asks for NET_ADMIN.
  const kept = [(own & 0x4002n).toString(16).padStart(16, "0")];
  const { pid } = vmm;
  // Main, two vCPUs, disk, I/O, and those of the runtime.
  expect(readdirSync(`/proc/${pid}/task`).length).toBeGreaterThan(6);
  expect(ofThreads(pid, "NoNewPrivs")).toEqual(["1"]);
  expect([ofThreads(pid, "CapEff"), ofThreads(pid, "CapPrm")]).toEqual([kept, kept]);
  expect(ofThreads(pid, "CapInh")).toEqual(["0000000000000000"]);
  if (process.getuid?.() === 0) expect(ofThreads(pid, "CapBnd")).toEqual(kept);
  // The launcher, since there is a terminal: it keeps nothing, as it may start nothing for a network.
  const [launcher = 0] = readFileSync(`/proc/${pid}/task/${pid}/children`, "latin1").split(" ").map(Number);
  expect([ofThreads(launcher, "CapEff"), ofThreads(launcher, "NoNewPrivs")]).toEqual([["0000000000000000"], ["1"]]);
  expect(readFileSync(`/proc/${pid}/limits`, "latin1")).toMatch(/^Max core file size\s+0\s+0 /m);
  vmm.signal("SIGTERM");
  expect((await vmm.outcome()).exitCode).toBe(0);
});

describe("--landlock", () => {
  test("leaves a VM what its configuration names, through its reboots", async () => {
    const base = join(folder, "base.qcow2");
    const top = join(folder, "top.qcow2");
    await runText(["qemu-img", "create", "-q", "-f", "qcow2", base, "16M"]);
    await runText([
      "qemu-img",
      "create",
      "-q",
      "-f",
      "qcow2",
      "-o",
      `data_file=${top}.data`,
      "-b",
      "base.qcow2",
      "-F",
      "qcow2",
      top,
    ]);
    const file = makeDisk(join(folder, "disk.raw"));
    const vmm = await startOnVmm("reboot", {
      terminal: true,
      console: `file=${join(folder, "console")}`,
      extra: [
        "--landlock",
        ...["--disk", `path=${top},image_type=qcow2,backing_files=on`, `path=${file},image_type=raw,readonly=on`],
        ...["--pmem", `file=${makeDisk(join(folder, "pmem"))}`, `file=${folder},size=4M`],
        ...["--vsock", `cid=3,socket=${join(folder, "vsock")}`],
      ],
    });
    for (let boot = 0; boot < 3; boot++) {
      await vmm.nextLine((line) => line.includes("BOOT"));
      vmm.write(boot < 2 ? "a" : "q");
    }
    expect((await vmm.outcome()).exitCode).toBe(0);
  });

  test("keeps from the VMM what has come to be under a name since", async () => {
    const path = makeDisk(join(folder, "swapped.raw"));
    await using vmm = await confinedVm([{ path, access: "rw" }]);
    renameSync(makeDisk(join(folder, "other.raw")), path);
    // By its name it is allowed: it is the kernel that says no.
    const { status, body } = vmm.ask("PUT", "vm.add-disk", raw(path));
    expect({ status, isDenied: body.includes("EACCES") || body.includes("may not read and write it") }).toEqual({
      status: 500,
      isDenied: true,
    });
  });

  test("lets be plugged in what rules allow, and names what they do not", async () => {
    const allowed = makeDisk(join(folder, "allowed.raw"));
    const readable = makeDisk(join(folder, "readable.raw"));
    const other = makeDisk(join(folder, "not-allowed.raw"));
    await using vmm = await confinedVm([
      { path: allowed, access: "rw" },
      { path: readable, access: "r" },
    ]);
    const refusal = (path: string): string => {
      const { status, body } = vmm.ask("PUT", "vm.add-disk", raw(path));
      expect(status).toBe(500);
      return body;
    };
    expect(refusal(other)).toContain(`--disk: Landlock keeps this process from '${other}'`);
    expect(refusal(other)).toContain(`--landlock-rules path=${other},access=rw`);
    expect(refusal(readable)).toContain(`path=${readable},access=rw`);
    vmm.put("vm.add-disk", raw(readable, { readonly: true }));
    vmm.put("vm.add-disk", raw(allowed));
    await vmm.guestLine("SLOT 3");
    expect(vmm.info.config.disks).toHaveLength(2);
    expect(vmm.ask("PUT", "vm.add-net", { tap: "a" }).body).toContain("/dev/net/tun,access=rw");
  });

  test("stays with the process: another VM gets no more, and the same one boots again", async () => {
    await using vmm = await ApiVmm.start("--no-shutdown");
    const config = await vmm.config("hello", "", { landlock_enable: true, landlock_rules: [] });
    for (let life = 1; life <= 20; life++) {
      vmm.put("vm.create", config);
      if (life % 5 === 1) {
        vmm.put("vm.boot");
        await vmm.event("vm:shutdown", Math.ceil(life / 5));
      }
      vmm.put("vm.delete");
    }
    const other = join(folder, "kernel");
    copyFileSync(await buildPayload("hello"), other);
    const { status, body } = vmm.ask("PUT", "vm.create", { payload: { kernel: other }, console: { mode: "Off" } });
    expect({ status, names: body.includes(`--kernel: Landlock keeps this process from '${other}'`) }).toEqual({
      status: 500,
      names: true,
    });
    vmm.put("vm.create", config);
  });

  test("a VM whose rules are wrong is not created, and the process is not confined for it", async () => {
    await using vmm = await ApiVmm.start("--no-shutdown");
    const rules = [{ path: join(folder, "nothing"), access: "r" }];
    const config = await vmm.config("hello", "", { landlock_enable: true, landlock_rules: rules });
    expect(vmm.ask("PUT", "vm.create", config).body).toContain("there is no");
    vmm.put("vm.create", { ...config, landlock_enable: false, landlock_rules: undefined });
    vmm.put("vm.boot");
    await vmm.guestLine("PASS");
  });
});

const NOBODY = "65534";

/** Runs the monitor as a user without any right. It is found by a descriptor, since that user may not look into our folders. */
async function runAsNobody(group: string, args: readonly string[]) {
  const program = openSync(vmmPath(), "r");
  try {
    const identity = ["--reuid", NOBODY, "--regid", group, "--clear-groups"];
    const child = Bun.spawn(withKvmGroup(["setpriv", ...identity, "/proc/self/fd/3", ...args]), {
      stdio: ["ignore", "pipe", "pipe", program],
      cwd: "/",
    });
    const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
    return { stdout, stderr, exitCode };
  } finally {
    closeSync(program);
  }
}

describe.if(canUnshare())("an ordinary user", () => {
  test("who may use /dev/kvm runs a VM, and without it is told so", async () => {
    const open = mkdtempSync(join(tmpdir(), "landlock-user-"));
    try {
      chmodSync(open, 0o777);
      const kernel = join(open, "kernel");
      copyFileSync(await buildPayload("hello"), kernel);
      chmodSync(kernel, 0o644);
      const disk = makeDisk(join(open, "disk.raw"));
      chmodSync(disk, 0o666);
      const args = ["--kernel", kernel, "--disk", `path=${disk},image_type=raw`, "--serial", "tty", "--console", "off"];
      const run = (group: string) => runAsNobody(group, [...args, "--landlock"]);
      const good = await run(KVM_GROUP);
      expect(good).toMatchObject({ exitCode: 0 });
      expect(good.stdout).toContain("PASS");
      const bad = await run(NOBODY);
      expect(bad.exitCode).toBe(1);
      expect(bad.stderr).toContain("/dev/kvm");
    } finally {
      rmSync(open, { recursive: true });
    }
  });
});
