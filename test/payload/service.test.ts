import { afterEach, describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Sys } from "../../src/host/syscall-numbers.ts";
import { findTool } from "../setup/exec.ts";
import { buildPayload } from "./build.ts";
import { canUnshare } from "./command.ts";
import { eventually } from "./eventually.ts";
import { KVM_GROUP, withKvmGroup } from "./kvm-group.ts";
import { ofThreads } from "./threads.ts";
import { CH_REMOTE, vmmPath } from "./vmm.ts";

const UNIT = join(import.meta.dir, "../../docs/cloud-hypervisor@.service");
const unit = readFileSync(UNIT, "utf8");
const PATIENCE_MS = 20_000;

/** The value of a setting of the unit; of several the last. */
function setting(name: string): string {
  const values = [...unit.matchAll(new RegExp(`^${name}=(.*)$`, "gm"))];
  const value = values.at(-1)?.[1];
  if (value === undefined) throw new Error(`the unit sets no ${name}`);
  return value;
}

/** The words of a command of the unit but its program's. */
function commandOf(name: string, runtimeFolder: string, options: readonly string[]): string[] {
  const [, ...words] = setting(name).split(" ");
  return words.flatMap((word) =>
    word === "$VM_OPTIONS" ? options : [word.replace(/\$\{RUNTIME_DIRECTORY\}/, runtimeFolder)],
  );
}

/**
 * What the unit's settings come to, by other means: a root that nobody can write, with a place for this VM, no network, a user
 * without capabilities that may use KVM.
 */
const SURROUNDINGS = [
  "mount --make-rprivate /",
  'mount --bind "$1" "$1"',
  "mount -o remount,bind,ro /",
  "mount -t tmpfs tmpfs /tmp",
  "shift",
  'exec "$@"',
].join("\n");

let folder: string | undefined;
afterEach(() => {
  if (folder !== undefined) rmSync(folder, { recursive: true });
  folder = undefined;
});

describe.if(canUnshare())("the systemd unit", () => {
  test("leaves a VM all that it needs, from its start to its power button", async () => {
    folder = mkdtempSync("/var/tmp/service-");
    const runtime = join(folder, "run");
    mkdirSync(runtime);
    for (const path of [folder, runtime]) chmodSync(path, 0o777);
    const kernel = join(folder, "kernel");
    copyFileSync(await buildPayload("powerbutton"), kernel);
    chmodSync(kernel, 0o644);
    const serial = join(folder, "serial");
    const options = [
      ...["--kernel", kernel, "--cmdline", "presses=1", "--memory", "size=128M"],
      ...["--serial", `file=${serial}`, "--console", "off"],
    ];
    const program = openSync(vmmPath(), "r");
    const vmm = Bun.spawn(
      withKvmGroup([
        ...["unshare", "--mount", "--net", "sh", "-ec", SURROUNDINGS, "sh", folder],
        ...["setpriv", "--reuid", "65534", "--regid", "65534", "--groups", KVM_GROUP],
        ...["--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", "/proc/self/fd/3"],
        ...commandOf("ExecStart", runtime, options),
      ]),
      { cwd: "/", stdio: ["ignore", "pipe", "pipe", program] },
    );
    closeSync(program);
    const stderr = vmm.stderr.text();
    try {
      const ready = () =>
        Bun.file(serial).size > 0 && readFileSync(serial, "latin1").includes("READY") ? true : undefined;
      await eventually("the guest", PATIENCE_MS, () => (vmm.exitCode === null ? ready() : true));
      expect({ exitCode: vmm.exitCode, stderr: vmm.exitCode === null ? "" : await stderr }).toEqual({
        exitCode: null,
        stderr: "",
      });
      const none = ["0000000000000000"];
      for (const set of ["CapEff", "CapPrm", "CapInh", "CapBnd"]) expect(ofThreads(vmm.pid, set)).toEqual(none);
      expect(Bun.spawnSync([CH_REMOTE, ...commandOf("ExecStop", runtime, [])]).exitCode).toBe(0);
      expect(await vmm.exited).toBe(0);
    } finally {
      vmm.kill("SIGKILL");
    }
    expect(await stderr).toBe("");
  });
});

describe.if(findTool("systemd-analyze") !== undefined)("systemd", () => {
  function analyze(...args: readonly string[]): string {
    folder = mkdtempSync("/var/tmp/service-");
    // Programs that are there: the unit's may not be installed.
    const text = unit.replaceAll(/\/usr\/local\/bin\/\S+/g, "/bin/true").replace(/^Documentation=.*\n/m, "");
    const file = join(folder, "cloud-hypervisor@test.service");
    writeFileSync(file, text);
    const { stdout, stderr } = Bun.spawnSync(["systemd-analyze", ...args, file], {
      env: { ...process.env, LC_ALL: "C" },
    });
    return `${stdout}${stderr}`;
  }

  test("finds nothing wrong with the unit", () => {
    expect(analyze("verify")).toBe("");
  });

  /** The system calls of a group, those of the groups in it included. */
  function groupOf(name: string): readonly string[] {
    if (!name.startsWith("@")) return [name];
    const { stdout } = Bun.spawnSync(["systemd-analyze", "syscall-filter", name]);
    const [, ...lines] = stdout.toString().split("\n");
    const names = lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"));
    return names.flatMap(groupOf);
  }

  test("lets the VMM make the system calls that it makes by their numbers", () => {
    const allowed = new Set<string>();
    for (const [, not, names = ""] of unit.matchAll(/^SystemCallFilter=(~?)(.*)$/gm))
      for (const call of names.split(" ").flatMap(groupOf)) not === "~" ? allowed.delete(call) : allowed.add(call);
    expect(allowed.size).toBeGreaterThan(100);
    expect(["mount", "ptrace", "bpf", "setuid"].filter((call) => allowed.has(call))).toEqual([]);
    // Only a process that has capabilities gives some up.
    expect(Object.keys(Sys).filter((call) => call !== "capset" && !allowed.has(call))).toEqual([]);
  });

  test("rates it as safe", () => {
    const [, level] =
      /Overall exposure level for \S+: ([\d.]+)/.exec(analyze("security", "--offline=true", "--no-pager")) ?? [];
    expect(Number(level)).toBeLessThan(1.1);
  });
});
