import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unsealRuntime } from "../../seal-runtime.ts";
import { scratchDir } from "../setup/cache.ts";
import { findTool } from "../setup/exec.ts";
import { unlessGone } from "../unit/unless-gone.ts";
import { PayloadProcess } from "./process.ts";
import { BUILT_VMM, vmmArguments, vmmPath } from "./vmm.ts";

let folder: string;
/** The executable as Bun has made it. */
let unsealed: string;

beforeAll(async () => {
  folder = await scratchDir("runtime");
  const code = join(folder, "evil.js");
  writeFileSync(
    code,
    `require("node:fs").writeFileSync(${JSON.stringify(join(folder, "trace"))}, ""); console.log("EVIL");\n`,
  );
  writeFileSync(join(folder, "bunfig.toml"), `preload = [${JSON.stringify(code)}]\n`);
  writeFileSync(join(folder, ".bunfig.toml"), `preload = [${JSON.stringify(code)}]\n`);
  writeFileSync(join(folder, ".env"), `BUN_BE_BUN=1\nBUN_OPTIONS=--preload=${code}\nCH_EXTRA_VERSION=evil\n`);
  writeFileSync(join(folder, "tsconfig.json"), '{"compilerOptions":{"paths":{"*":["./evil.js"]}}}');
  writeFileSync(join(folder, "package.json"), '{"imports":{"#x":"./evil.js"},"main":"./evil.js"}');
  for (const name of ["citty", "consola"]) {
    const module = join(folder, "node_modules", name);
    mkdirSync(module, { recursive: true });
    writeFileSync(join(module, "index.js"), readFileSync(code));
  }
  const executable = readFileSync(BUILT_VMM);
  unsealRuntime(executable);
  unsealed = join(folder, "unsealed");
  writeFileSync(unsealed, executable, { mode: 0o755 });
});
afterAll(() => rm(folder, { recursive: true }));

/** Runs the executable, or another, in the hostile folder. */
async function runThere(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  program: string = vmmPath(),
) {
  const child = Bun.spawn([program, ...args], {
    cwd: folder,
    env: { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { stdout, stderr, exitCode };
}

describe("whoever is master of the folder or the environment", () => {
  const plain = () => runThere(["--version"]);
  const filesNow = () => readdirSync(folder).sort();

  test("gets no code run by files, nor changes what is done", async () => {
    const before = filesNow();
    const { stdout, stderr, exitCode } = await plain();
    expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
    expect(stdout).toStartWith("cloud-hypervisor v");
    expect(stdout).not.toContain("evil");
    const vm = await runThere(await vmmArguments("hello"));
    expect(vm.exitCode).toBe(0);
    expect(vm.stdout).not.toContain("EVIL");
    expect(filesNow()).toEqual(before);
  });

  /** All that shows of what an executable does, with a socket to connect to beside it. */
  const observe = async (program: string, variable: Readonly<Record<string, string>>) => {
    const unix = join(folder, "socket");
    let connections = 0;
    const hangUp = (socket: Bun.Socket): void => {
      connections++;
      socket.end();
    };
    const listener = Bun.listen({ unix, socket: { open: hangUp, data: () => undefined } });
    const before = filesNow();
    const seen = await runThere(["--version"], variable, program);
    // Whoever has connected before comes before us.
    const over = Promise.withResolvers<void>();
    await Bun.connect({ unix, socket: { data: () => undefined, close: () => over.resolve() } });
    await over.promise;
    listener.stop(true);
    const made = filesNow().filter((name) => !before.includes(name));
    for (const name of made) rmSync(join(folder, name));
    return { ...seen, made, connections: connections - 1 };
  };

  // Only what shows in an executable that is not sealed is tried. The other names are sealed for crashes and for debuggers.
  test.each([
    ["BUN_BE_BUN", "1"],
    ["BUN_OPTIONS", "--preload=./evil.js"],
    ["BUN_INSPECT", "no:place:at:all"],
    ["BUN_INSPECT_CONNECT_TO", "unix://socket"],
    ["BUN_BYTECODE_DIGEST_OUT", "written"],
    ["BUN_BYTECODE_ORDER_OUT", "written"],
  ])("nor by %s=%s", async (name, value) => {
    const variable = { [name]: value };
    expect(await observe(unsealed, variable)).not.toEqual(await observe(unsealed, {}));
    expect(await observe(vmmPath(), variable)).toEqual(await observe(vmmPath(), {}));
  });

  test("gets no debugger to look in", async () => {
    const command = ["env", "BUN_INSPECT=ws://127.0.0.1:0/debug", vmmPath(), ...(await vmmArguments("reboot"))];
    const vmm = new PayloadProcess(command, 60_000, true);
    await vmm.nextLine((line) => line.includes("BOOT"));
    expect(internetSockets(vmm.pid)).toEqual([]);
    vmm.signal("SIGTERM");
    expect((await vmm.outcome()).exitCode).toBe(0);
  });
});

/** Inodes of the sockets of a process that are of the Internet families. */
function internetSockets(pid: number): readonly string[] {
  const tables = ["tcp", "tcp6", "udp", "udp6"].map((name) => readFileSync(`/proc/${pid}/net/${name}`, "latin1"));
  const known = new Set(tables.flatMap((table) => table.split("\n").map((line) => line.trim().split(/\s+/)[9])));
  return readdirSync(`/proc/${pid}/fd`)
    .map((fd) => /^socket:\[(\d+)\]$/.exec(unlessGone(() => readlinkSync(`/proc/${pid}/fd/${fd}`)) ?? "")?.[1])
    .filter((inode) => inode !== undefined && known.has(inode)) as string[];
}

const SETCAP = findTool("setcap");
const NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];

describe.if(process.getuid?.() === 0 && SETCAP !== undefined && findTool("setpriv") !== undefined)(
  "an executable with capabilities of its own",
  () => {
    test("does nothing for a caller without them who has set up its runtime", async () => {
      const open = mkdtempSync(join(tmpdir(), "runtime-"));
      try {
        chmodSync(open, 0o755);
        const program = join(open, "cloud-hypervisor");
        copyFileSync(vmmPath(), program);
        expect(Bun.spawnSync([SETCAP ?? "", "cap_net_admin+ep", program]).success).toBeTrue();
        const run = (env: Readonly<Record<string, string>>) =>
          Bun.spawnSync([...NOBODY, program, "--kernel", "/nonexistent"], {
            cwd: "/",
            env: { ...process.env, ...env },
          });
        const refused = "unset BUN_JSC_useJIT";
        const hostile = run({ BUN_JSC_useJIT: "1" });
        expect(hostile.exitCode).toBe(1);
        expect(hostile.stderr.toString()).toContain(refused);
        expect(run({}).stderr.toString()).not.toContain(refused);
        // One without does as its caller says.
        expect(Bun.spawnSync([SETCAP ?? "", "-r", program]).success).toBeTrue();
        expect(run({ BUN_JSC_useJIT: "1" }).stderr.toString()).not.toContain(refused);
      } finally {
        rmSync(open, { recursive: true });
      }
    });
  },
);
