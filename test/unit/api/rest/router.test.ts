import { describe, expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import type { Method } from "../../../../src/api/http/request-parser.ts";
import type { HttpResponse } from "../../../../src/api/http/response.ts";
import { BASE_PATH, ENDPOINTS, type EndpointName, type Identity } from "../../../../src/api/rest/endpoints.ts";
import { makeRouter } from "../../../../src/api/rest/router.ts";
import type { ObjectSchema } from "../../../../src/config/schema/object-schema.ts";
import { CpuRemovalPendingError } from "../../../../src/vmm/control/errors.ts";
import type { VmmControl } from "../../../../src/vmm/control/vmm-control.ts";
import { badDocuments, sampleObject } from "../../config/json/corpus.ts";
import { Random } from "../../random.ts";
import { fakeVmm } from "../../vmm/control/fake-life.ts";

const IDENTITY: Identity = { buildVersion: "v1.2.3-4", version: "1.2.3", features: ["io_uring", "kvm"] };
const VM = '{"payload":{"kernel":"/k"},"console":{"mode":"Off"},"disks":[{"path":"/d","id":"d","image_type":"Raw"}]}';
const NAMES = Object.keys(ENDPOINTS) as EndpointName[];

function rig() {
  const vmm = fakeVmm();
  const handle = makeRouter(vmm.controller, IDENTITY);
  const ask = async (method: Method, path: string, body: string | Uint8Array = "", fds: number[] = []) =>
    handle({ method, path, body: typeof body === "string" ? Buffer.from(body) : body, fds });
  const put = (name: EndpointName, body = "") => ask("PUT", BASE_PATH + name, body);
  const get = (name: EndpointName) => ask("GET", BASE_PATH + name);
  return { ...vmm, handle, ask, put, get };
}

const brief = ({ status, body }: HttpResponse) => (body === "" ? `${status}` : `${status} ${body}`);

describe("paths", () => {
  test.each([
    "",
    "/",
    "/api/v1",
    "/api/v1/",
    "/api/v1/vm.nonsense",
    "/api/v1/vm.info/",
    "/api/v1/vm.info?x=1",
    "/api/v1//vm.info",
    "/api/v1/VM.info",
    "/api/v1/vm%2einfo",
    "/api/v2/vm.info",
    "/vm.info",
    "/api/v1/constructor",
    "/api/v1/__proto__",
  ])("%j is not found, whatever the method", async (path) => {
    for (const method of ["GET", "PUT", "PATCH", "DELETE"] as const)
      expect(brief(await rig().ask(method, path, "{}"))).toBe('404 ["Not Found"]');
  });

  test("there are the 31 endpoints of the sheet", () => {
    expect(NAMES).toHaveLength(31);
  });
});

describe("methods and bodies", () => {
  const BAD = '400 ["Bad Request"]';
  const EMPTY = "400";
  /** rest-api.md, section 1.6: GET, PUT with body, PUT without, PATCH, DELETE; undefined where the endpoint runs. */
  const MATRIX = {
    get: [undefined, BAD, BAD, BAD, BAD],
    "plain-get": [undefined, BAD, BAD, EMPTY, EMPTY],
    "any-put": [BAD, undefined, undefined, BAD, BAD],
    create: [BAD, undefined, EMPTY, BAD, BAD],
    put: [BAD, BAD, undefined, EMPTY, EMPTY],
    "put-body": [BAD, undefined, BAD, EMPTY, EMPTY],
  } as const;
  const REQUESTS = [
    ["GET", ""],
    ["PUT", "{}"],
    ["PUT", ""],
    ["PATCH", ""],
    ["DELETE", "{}"],
  ] as const;
  for (const name of NAMES)
    test(name, async () => {
      for (const [index, [method, body]] of REQUESTS.entries()) {
        const { ask, events } = rig();
        const answer = brief(await ask(method, BASE_PATH + name, body));
        const expected = MATRIX[ENDPOINTS[name].usage][index];
        if (expected === undefined) expect(answer === BAD || answer === EMPTY).toBe(false);
        else {
          expect(answer).toBe(expected);
          expect(events).toEqual([]);
        }
      }
    });

  test("of information, a body is ignored", async () => {
    const { ask } = rig();
    expect((await ask("GET", `${BASE_PATH}vmm.ping`, "nonsense")).status).toBe(200);
  });
});

describe("bodies", () => {
  for (const name of NAMES) {
    const endpoint = ENDPOINTS[name];
    const schema: ObjectSchema | undefined = "schema" in endpoint ? endpoint.schema : undefined;
    if (schema === undefined) continue;

    test(`${name}: any one thing wrong is refused and named, and the VM is unaffected`, async () => {
      const { put, get, events } = rig();
      if (name !== "vm.create") await put("vm.create", VM);
      const before = brief(await get("vm.info"));
      const seen = events.length;
      let count = 0;
      for (const { text, path, why } of badDocuments(schema)) {
        const { status, body } = await put(name, text);
        const [first, second, ...rest] = JSON.parse(body);
        if (status !== 400 || typeof first !== "string" || typeof second !== "string" || rest.length > 0)
          throw new Error(`${path} (${why}): ${status} ${body}`);
        const member = path.split(".").at(-1) ?? path;
        if (!second.includes(member)) throw new Error(`${path} (${why}) is not named in: ${body}`);
        count++;
      }
      expect(count).toBeGreaterThan(3);
      for (const text of ["nonsense", "{", "[]", "null", '"x"', "{}{}", "\u0000"])
        expect((await put(name, text)).status).toBe(400);
      expect(brief(await get("vm.info"))).toBe(before);
      expect(events.slice(seen)).toEqual([]);
    });
  }

  test("random ones never come to anything but 400, or an answer to what they ask", async () => {
    const random = new Random(0xb0d1);
    const { handle, get } = rig();
    const bodies = NAMES.flatMap((name) => {
      const endpoint = ENDPOINTS[name];
      return "schema" in endpoint && name !== "vm.create" ? [[name, sampleObject(endpoint.schema)] as const] : [];
    });
    const seen = new Set<number>();
    for (let round = 0; round < 5000; round++) {
      const [name = "vm.resize", text = ""] = bodies[random.below(bodies.length)] ?? [];
      const body = Buffer.from(text);
      for (let edits = random.below(3); edits > 0; edits--) body[random.below(body.length)] = random.below(256);
      const { status } = await handle({ method: "PUT", path: BASE_PATH + name, body, fds: [] });
      seen.add(status);
    }
    expect([...seen].sort()).toEqual([400, 404, 500]);
    expect((await get("vm.info")).status).toBe(404);
  });
});

describe("a life over the API", () => {
  test("answers what the sheet says", async () => {
    const { put, get, lives, events } = rig();
    expect(JSON.parse((await get("vmm.ping")).body)).toEqual({
      build_version: "v1.2.3-4",
      version: "1.2.3",
      pid: process.pid,
      features: ["io_uring", "kvm"],
    });
    expect(await put("vm.create", VM)).toEqual({ status: 204, body: "" });
    const created = JSON.parse((await get("vm.info")).body);
    expect(created.state).toBe("Created");
    expect(created.device_tree).toBeUndefined();
    expect(created.memory_actual_size).toBe(512 << 20);
    expect(created.config.disks[0]).toEqual({
      id: "d",
      pci_segment: 0,
      path: "/d",
      readonly: false,
      direct: false,
      num_queues: 1,
      queue_size: 128,
      vhost_user: false,
      disable_io_uring: false,
      disable_aio: false,
      backing_files: false,
      sparse: true,
      image_type: "Raw",
      lock_granularity: "ByteRange",
    });
    expect((await put("vm.add-disk", '{"path":"/e","image_type":"Raw"}')).status).toBe(204);
    expect((await put("vm.boot")).status).toBe(204);
    const running = JSON.parse((await get("vm.info")).body);
    expect(running.state).toBe("Running");
    expect(running.config.disks[1].id).toBe("_disk1");
    expect(running.device_tree).toEqual({ __serial: { id: "__serial", resources: [], children: [] } });
    expect((await get("vm.counters")).body).toBe('{"_disk0":{"read_bytes":5,"read_latency_min":18446744073709551615}}');
    for (const name of ["vm.pause", "vm.resume", "vm.power-button", "vm.nmi", "vm.reboot", "vm.shutdown"] as const)
      expect(await put(name)).toEqual({ status: 204, body: "" });
    expect((await put("vm.resize", '{"desired_vcpus":null}')).status).toBe(204);
    expect((await put("vm.remove-device", '{"id":"d"}')).status).toBe(204);
    expect((await put("vm.delete")).status).toBe(204);
    expect(await put("vmm.shutdown", "ignored")).toEqual({ status: 200, body: "" });
    expect(lives).toHaveLength(2);
    expect(events.at(-1)).toBe("vmm:shutdown");
  });

  const states: Readonly<Record<string, readonly EndpointName[]>> = {
    none: [],
    created: ["vm.create"],
    running: ["vm.create", "vm.boot"],
    paused: ["vm.create", "vm.boot", "vm.pause"],
  };
  /** Status by state: none, created, running, paused. rest-api.md, sections 2.2 to 2.6. */
  const STATUSES: readonly (readonly [EndpointName, string, string])[] = [
    ["vm.create", VM, "204 500 500 500"],
    ["vm.delete", "", "204 204 204 204"],
    ["vm.boot", "", "404 204 500 500"],
    ["vm.shutdown", "", "500 500 204 204"],
    ["vm.reboot", "", "404 404 204 204"],
    ["vm.pause", "", "500 500 204 500"],
    ["vm.resume", "", "500 500 500 204"],
    ["vm.power-button", "", "500 500 204 204"],
    ["vm.nmi", "", "500 500 204 204"],
    ["vm.resize", "{}", "404 204 204 204"],
    ["vm.resize-disk", '{"id":"x","desired_size":512}', "404 500 500 500"],
    ["vm.resize-zone", '{"id":"x","desired_ram":512}', "404 500 500 500"],
    ["vm.remove-device", '{"id":"x"}', "404 404 500 500"],
    ["vm.add-disk", '{"path":"/e","image_type":"Raw"}', "404 204 500 500"],
    ["vm.add-disk", '{"path":"/e","id":"d","image_type":"Raw"}', "404 409 409 409"],
    ["vm.add-disk", '{"path":"/e","queue_size":3}', "404 400 400 400"],
    ["vm.snapshot", '{"destination_url":"file:///x"}', "500 500 500 500"],
    ["vm.send-migration", '{"destination_url":"unix:/x"}', "500 500 500 500"],
    ["vm.coredump", '{"destination_url":"file:///x"}', "500 500 204 204"],
  ];
  for (const [name, body, statuses] of STATUSES)
    test(`${name} ${body.slice(0, 40)} in each state`, async () => {
      for (const [index, way] of Object.values(states).entries()) {
        const { put } = rig();
        for (const step of way) await put(step, step === "vm.create" ? VM : "");
        const response = await put(name, body);
        expect(String(response.status)).toBe(statuses.split(" ")[index] ?? "");
        if (response.status >= 400) {
          const texts: unknown = JSON.parse(response.body);
          expect(Array.isArray(texts) && texts.length > 0 && texts.every((text) => typeof text === "string")).toBe(
            true,
          );
        }
      }
    });

  test("info and counters without a VM", async () => {
    const { get, put } = rig();
    expect((await get("vm.info")).status).toBe(404);
    expect((await get("vm.counters")).status).toBe(500);
    await put("vm.create", VM);
    expect((await get("vm.counters")).status).toBe(500);
  });

  test("a failure is told from the outermost description to the root cause", async () => {
    const { put } = rig();
    await put("vm.create", '{"payload":{"kernel":"/k"},"pvmemcontrol":{},"console":{"mode":"Tty","iommu":true}}');
    const { status, body } = await put("vm.boot");
    expect(status).toBe(500);
    expect(JSON.parse(body)).toEqual([
      "the request failed",
      "cannot boot the VM",
      "not supported by this version: --console iommu",
    ]);
  });

  test("a pending removal of vCPUs is told apart", async () => {
    const { controller } = fakeVmm();
    const control: VmmControl = Object.create(controller, {
      resize: { value: () => Promise.reject(new CpuRemovalPendingError()) },
    });
    const request = { method: "PUT", path: `${BASE_PATH}vm.resize`, body: Buffer.from("{}"), fds: [] } as const;
    expect(await makeRouter(control, IDENTITY)({ ...request, fds: [] })).toEqual({
      status: 429,
      body: '["Too Many Requests"]',
    });
  });
});

describe("descriptors", () => {
  test.each([
    ["vm.restore", '{"source_url":"file:///x"}', 0],
    ["vm.restore", '{"source_url":"file:///x","net_fds":[{"id":"a","num_fds":2},{"id":"b"}]}', 2],
    ["vm.restore", '{"source_url":"file:///x","net_fds":[{"id":"a","num_fds":1}],"vfio_fds":[{"id":"v","fd":9}]}', 3],
    ["vm.restore", '{"source_url":"file:///x","vfio_fds":[]}', 1],
    ["vm.receive-migration", '{"receiver_url":"unix:/x"}', 0],
    ["vm.receive-migration", '{"receiver_url":"unix:/x","vfio_fds":[{"id":"v"}]}', 2],
  ] as const)("%s %s takes %d", async (name, body, count) => {
    const { ask } = rig();
    for (const given of [0, 1, 2, 3, 4]) {
      const response = await ask("PUT", BASE_PATH + name, body, Array<number>(given).fill(100));
      expect(brief(response) === '400 ["Bad Request"]').toBe(given !== count);
    }
  });

  test("a device takes one", async () => {
    const { ask, put } = rig();
    await put("vm.create", VM);
    expect(brief(await ask("PUT", `${BASE_PATH}vm.add-device`, "{}", [100, 101]))).toBe('400 ["Bad Request"]');
    expect(JSON.parse((await ask("PUT", `${BASE_PATH}vm.add-device`, "{}", [100])).body).at(-1)).toContain(
      "iommufd_fd",
    );
  });

  test("a network device takes as many as it has pairs of queues", async () => {
    const { ask, put } = rig();
    await put("vm.create", VM);
    expect((await ask("PUT", `${BASE_PATH}vm.add-net`, "{}", [100, 101])).status).toBe(400);
    expect((await ask("PUT", `${BASE_PATH}vm.add-net`, "{}", [2])).status).toBe(400);
  });

  test("of a device that was added are the VM's", async () => {
    const fds = [openSync("/dev/null", "r"), openSync("/dev/null", "r")];
    const { controller } = fakeVmm();
    const added: unknown[] = [];
    const control: VmmControl = Object.create(controller, {
      addDevice: { value: async (device: unknown) => void added.push(device) },
    });
    const given = [...fds];
    const path = `${BASE_PATH}vm.add-net`;
    await makeRouter(
      control,
      IDENTITY,
    )({ method: "PUT", path, body: Buffer.from('{"num_queues":4,"fds":[7,8]}'), fds: given });
    expect(given).toEqual([]);
    expect(added).toMatchObject([{ member: "net", config: { fds } }]);
    for (const fd of fds) closeSync(fd);
  });
});
