import { describe, expect, test } from "bun:test";
import { closeSync, fstatSync, openSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import type { HttpRequest } from "../../../../src/api/http/request-parser.ts";
import type { HttpResponse } from "../../../../src/api/http/response.ts";
import { makeRouter } from "../../../../src/api/rest/router.ts";
import { COMMANDS } from "../../../../src/cli/ch-remote/commands.ts";
import { defer, serve, testFolder } from "../../api/http/rig.ts";
import { fakeVmm } from "../../vmm/control/fake-life.ts";

const MAIN = join(import.meta.dir, "main.ts");
const VM = '{"payload":{"kernel":"/k"},"console":{"mode":"Off"},"disks":[{"path":"/d","id":"d","image_type":"Raw"}]}';

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `ch-remote` as a process. @param stdin what it reads there; file descriptors from 3 on are inherited */
async function remote(
  argv: readonly string[],
  { stdin = "", env = {}, fds = [] }: { stdin?: string; env?: Record<string, string>; fds?: readonly number[] } = {},
): Promise<Outcome> {
  const child = Bun.spawn([process.execPath, MAIN, ...argv], {
    stdio: [Buffer.from(stdin), "pipe", "pipe", ...fds],
    env: { ...process.env, ...env },
  });
  const [code, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  return { code, stdout, stderr };
}

/** A server that answers everything the same way and remembers what it was asked. */
function recorder(answer: HttpResponse = { status: 204, body: "" }) {
  const requests: { method: string; path: string; body: string; inodes: number[] }[] = [];
  const { path } = serve(({ method, path, body, fds }: HttpRequest) => {
    const inodes = fds.map((fd) => fstatSync(fd).ino);
    requests.push({ method, path, body: Buffer.from(body).toString(), inodes });
    return answer;
  });
  return { requests, path };
}

describe("requests", () => {
  const cases: readonly (readonly [string, readonly string[], string, string, unknown])[] = [
    ["add-device", ["path=/sys/d,id=v"], "PUT", "vm.add-device", { path: "/sys/d", id: "v" }],
    [
      "add-disk",
      ["path=/d,readonly=on,bw_size=1,bw_refill_time=2"],
      "PUT",
      "vm.add-disk",
      { path: "/d", readonly: true },
    ],
    ["add-fs", ["tag=t,socket=/s"], "PUT", "vm.add-fs", { tag: "t", socket: "/s", num_queues: 1 }],
    [
      "add-generic-vhost-user",
      ["socket=/s,queue_sizes=[4],device_type=fs"],
      "PUT",
      "vm.add-generic-vhost-user",
      { queue_sizes: [4] },
    ],
    ["add-net", ["tap=t,mac=2E:00:00:00:00:01"], "PUT", "vm.add-net", { tap: "t", mac: "2e:00:00:00:00:01" }],
    ["add-pmem", ["file=/f,size=2M"], "PUT", "vm.add-pmem", { file: "/f", size: 2 << 20 }],
    ["add-user-device", ["socket=/s"], "PUT", "vm.add-user-device", { socket: "/s" }],
    ["add-vdpa", ["path=/p"], "PUT", "vm.add-vdpa", { path: "/p", num_queues: 1 }],
    ["add-vsock", ["cid=3,socket=/s"], "PUT", "vm.add-vsock", { cid: 3, socket: "/s" }],
    ["boot", [], "PUT", "vm.boot", undefined],
    ["coredump", ["file:///c"], "PUT", "vm.coredump", { destination_url: "file:///c" }],
    ["counters", [], "GET", "vm.counters", undefined],
    ["delete", [], "PUT", "vm.delete", undefined],
    ["info", [], "GET", "vm.info", undefined],
    ["nmi", [], "PUT", "vm.nmi", undefined],
    ["pause", [], "PUT", "vm.pause", undefined],
    ["ping", [], "GET", "vmm.ping", undefined],
    ["power-button", [], "PUT", "vm.power-button", undefined],
    ["reboot", [], "PUT", "vm.reboot", undefined],
    ["receive-migration", ["receiver_url=tcp:[::1]:5"], "PUT", "vm.receive-migration", { receiver_url: "tcp:[::1]:5" }],
    ["remove-device", ["d"], "PUT", "vm.remove-device", { id: "d" }],
    [
      "resize",
      ["--cpus", "2", "--memory=1G", "--balloon", "0"],
      "PUT",
      "vm.resize",
      { desired_vcpus: 2, desired_ram: 1 << 30, desired_balloon: 0 },
    ],
    ["resize", [], "PUT", "vm.resize", {}],
    ["resize-disk", ["--disk", "d", "--size", "1K"], "PUT", "vm.resize-disk", { id: "d", desired_size: 1024 }],
    ["resize-zone", ["--size=1M", "--id=z"], "PUT", "vm.resize-zone", { id: "z", desired_ram: 1 << 20 }],
    ["restore", ["source_url=file:///s,resume=on"], "PUT", "vm.restore", { source_url: "file:///s", resume: true }],
    ["resume", [], "PUT", "vm.resume", undefined],
    [
      "send-migration",
      ["destination_url=unix:/s,local=on"],
      "PUT",
      "vm.send-migration",
      { local: true, downtime_ms: 300 },
    ],
    ["shutdown", [], "PUT", "vm.shutdown", undefined],
    ["shutdown-vmm", [], "PUT", "vmm.shutdown", undefined],
    ["snapshot", ["file:///s"], "PUT", "vm.snapshot", { destination_url: "file:///s" }],
  ];

  test.each(cases)("%s %j", async (command, argv, method, endpoint, body) => {
    const { requests, path } = recorder();
    expect(await remote(["--api-socket", path, command, ...argv])).toEqual({ code: 0, stdout: "", stderr: "" });
    const [request, ...more] = requests;
    expect(more).toEqual([]);
    expect(request).toMatchObject({ method, path: `/api/v1/${endpoint}` });
    if (body === undefined) expect(request?.body).toBe("");
    else expect(JSON.parse(request?.body ?? "")).toMatchObject(body as object);
  });

  test("there is a case of every subcommand", () => {
    expect(new Set([...cases.map(([command]) => command), "create", "top"])).toEqual(new Set(Object.keys(COMMANDS)));
  });

  test("a document goes as it is, from a file or from standard input", async () => {
    const { requests, path } = recorder();
    const file = join(testFolder(), "vm.json");
    writeFileSync(file, '{"from": "file"}');
    await remote(["--api-socket", path, "create", file]);
    await remote(["--api-socket", path, "create", "-"], { stdin: "not even JSON" });
    await remote([`--api-socket=${path}`, "create"], { stdin: "{}" });
    expect(requests.map(({ body }) => body)).toEqual(['{"from": "file"}', "not even JSON", "{}"]);
  });
});

describe("descriptors", () => {
  test.each([
    ["add-net", "fd=[3,4],num_queues=4", [0, 1]],
    ["add-device", "fd=3", [0]],
    ["restore", "source_url=file:///s,net_fds=[b@[4],a@[3]],vfio_fds=[v@5],iommufd_fd=6", [1, 0, 2, 3]],
    ["receive-migration", "receiver_url=unix:/s,vfio_fds=[v@4],iommufd_fd=3", [1, 0]],
  ] as const)("%s %s: they go beside the document and not in it", async (command, config, order) => {
    const { requests, path } = recorder();
    const folder = testFolder();
    const files = ["a", "b", "c", "d"].map((name) => openSync(join(folder, name), "w"));
    expect((await remote(["--api-socket", path, command, config], { fds: files })).code).toBe(0);
    const [request] = requests;
    expect(request?.inodes).toEqual(order.map((index) => fstatSync(files[index] ?? -1).ino));
    expect(request?.body).not.toMatch(/"(fds|fd|iommufd_fd)"/);
    for (const file of files) closeSync(file);
  });
});

describe("output and exit codes", () => {
  test("a body is printed with a line feed", async () => {
    const { path } = recorder({ status: 200, body: '{"id":"_disk1","bdf":"0000:00:04.0"}' });
    expect(await remote(["--api-socket", path, "add-disk", "path=/d"])).toEqual({
      code: 0,
      stdout: '{"id":"_disk1","bdf":"0000:00:04.0"}\n',
      stderr: "",
    });
  });

  test("a refusal is a chain", async () => {
    const { path } = recorder({ status: 404, body: '["the request failed","cannot boot the VM","no VM"]' });
    const { code, stdout, stderr } = await remote(["--api-socket", path, "boot"], { env: { RUST_LOG: "off" } });
    expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
    expect(stderr).toBe(
      "Error: ch-remote exited with the following chain of errors:\n  0: the VMM answered 404 Not Found\n" +
        "  1: the request failed\n  2: cannot boot the VM\n  3: no VM\n",
    );
    expect((await remote(["--api-socket", path, "boot"])).stderr).toMatch(
      /^\[\S+Z ERROR ch_remote\] .*\nError: ch-remote/,
    );
  });

  test("a refusal that is no array of strings is shown as it is", async () => {
    const { path } = recorder({ status: 409, body: '{ "error": "x" }' });
    const { code, stderr } = await remote(["--api-socket", path, "boot"], { env: { RUST_LOG: "off" } });
    expect(code).toBe(1);
    expect(stderr).toBe(
      'Error: ch-remote exited with the following error:\n  the VMM answered 409 (unknown)\n  X: { "error": "x" }\n',
    );
  });

  test.each([
    [[], 2, /^$/, /^ch-remote [\s\S]*Usage: /],
    [["nonsense"], 2, /^$/, /unrecognized subcommand 'nonsense'/],
    [["__proto__"], 2, /^$/, /unrecognized subcommand/],
    [["--nonsense", "boot"], 2, /^$/, /unexpected argument '--nonsense'/],
    [["boot", "--api-socket", "/s"], 2, /^$/, /unexpected argument '--api-socket'/],
    [["boot", "x"], 2, /^$/, /unexpected argument 'x'/],
    [["--api-socket"], 2, /^$/, /value is required/],
    [["--api-socket", "/s"], 2, /^$/, /a subcommand is required/],
    [["--api-socket", "/s", "--api-socket", "/s", "boot"], 2, /^$/, /multiple times/],
    [["restore"], 2, /^$/, /<restore_config> is required/],
    [["snapshot"], 2, /^$/, /<snapshot_config> is required/],
    [["resize", "--cpus"], 2, /^$/, /value is required/],
    [["--help"], 0, /Subcommands:/, /^$/],
    [["boot", "-h"], 0, /Usage: ch-remote boot/, /^$/],
    [["help", "add-disk"], 0, /path=<path>/, /^$/],
    [["help"], 0, /Subcommands:/, /^$/],
    [["help", "x"], 2, /^$/, /unrecognized/],
    [["--version"], 0, /^ch-remote v\S+\n$/, /^$/],
    [["boot"], 1, /^$/, /ERROR ch_remote.*--api-socket/],
    [["--api-socket", "/nonexistent", "boot"], 1, /^$/, /cannot connect to \/nonexistent/],
    [["--api-socket", "/nonexistent", "add-disk"], 101, /^$/, /disk_config is missing/],
    [["--api-socket", "/nonexistent", "resize-disk", "--disk", "d"], 101, /^$/, /--size is missing/],
    [["--api-socket", "/nonexistent", "add-disk", "nonsense=1"], 1, /^$/, /unknown option 'nonsense'/],
    [["--api-socket", "/nonexistent", "resize", "--cpus", "many"], 1, /^$/, /error in the value of --cpus/],
    [["--api-socket", "/nonexistent", "create", "/nonexistent"], 1, /^$/, /cannot read \/nonexistent/],
    [["--api-socket", "/nonexistent", "send-migration", "destination_url=http:x"], 1, /^$/, /neither tcp/],
  ] as const)("%j", async (argv, code, stdout, stderr) => {
    const outcome = await remote(argv);
    expect(outcome.stdout).toMatch(stdout);
    expect(outcome.stderr).toMatch(stderr);
    expect(outcome.code).toBe(code);
  });

  test("trouble with the connection is in the log only", async () => {
    const outcome = await remote(["--api-socket", "/nonexistent", "boot"], { env: { RUST_LOG: "off" } });
    expect(outcome).toEqual({ code: 1, stdout: "", stderr: "" });
  });
});

describe("servers that do not play along", () => {
  test.each([
    ["", "without an answer"],
    ["nonsense\r\n\r\n", "not that of a VMM"],
    ["HTTP/1.1 200 \r\nContent-Length: 10\r\n\r\nshort", "without an answer"],
    [`HTTP/1.1 200 \r\nContent-Length: 9999999999\r\n\r\n`, "bytes"],
  ])("%j", async (answer, problem) => {
    const path = join(testFolder(), "s");
    const server = createServer((socket) => socket.once("data", () => socket.end(answer))).listen(path);
    defer(() => server.close());
    const outcome = await remote(["--api-socket", path, "ping"]);
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain(problem);
  });
});

test("a life of a VM", async () => {
  const { controller, events } = fakeVmm();
  const { path } = serve(makeRouter(controller, { buildVersion: "v1", version: "1.0.0", features: ["kvm"] }));
  const run = async (...argv: readonly string[]) => {
    const { code, stdout, stderr } = await remote(["--api-socket", path, ...argv], { stdin: VM });
    expect({ argv, code, stderr }).toEqual({ argv, code: 0, stderr: "" });
    return stdout;
  };
  expect(JSON.parse(await run("ping"))).toMatchObject({ version: "1.0.0", pid: process.pid });
  await run("create");
  expect(await run("add-disk", "path=/e,image_type=raw")).toBe("");
  await run("boot");
  expect(JSON.parse(await run("info"))).toMatchObject({
    state: "Running",
    config: { disks: [{ id: "d" }, { id: "_disk1" }] },
  });
  expect(await run("counters")).toBe('{"_disk0":{"read_bytes":5,"read_latency_min":18446744073709551615}}\n');
  for (const command of ["pause", "resume", "power-button", "nmi", "reboot", "shutdown", "delete", "shutdown-vmm"])
    expect(await run(command)).toBe("");
  expect(events.at(-1)).toBe("vmm:shutdown");
});
