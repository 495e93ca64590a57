import { describe, expect, test } from "bun:test";
import { decodeJson, decodeJsonBytes, isRequired, jsonPlan } from "../../../../src/config/json/decode.ts";
import { encodeJson, plainJson } from "../../../../src/config/json/encode.ts";
import { JsonError } from "../../../../src/config/json/errors.ts";
import {
  coredumpSchema,
  removeDeviceSchema,
  resizeDiskSchema,
  resizeSchema,
  resizeZoneSchema,
  snapshotSchema,
} from "../../../../src/config/schema/actions.ts";
import { diskSchema } from "../../../../src/config/schema/disk.ts";
import { deviceSchema, userDeviceSchema } from "../../../../src/config/schema/host-devices.ts";
import { receiveMigrationSchema, sendMigrationSchema } from "../../../../src/config/schema/migration.ts";
import { netSchema } from "../../../../src/config/schema/net.ts";
import type { ObjectSchema } from "../../../../src/config/schema/object-schema.ts";
import { restoreSchema } from "../../../../src/config/schema/restore.ts";
import {
  fsSchema,
  genericVhostUserSchema,
  pmemSchema,
  vdpaSchema,
  vsockSchema,
} from "../../../../src/config/schema/virtio-devices.ts";
import { vmSchema } from "../../../../src/config/schema/vm.ts";
import { Random } from "../../random.ts";
import { configOf, thrown } from "../command-line.ts";
import { badDocuments, sampleObject } from "./corpus.ts";

const SCHEMAS: readonly ObjectSchema[] = [
  vmSchema,
  diskSchema,
  netSchema,
  deviceSchema,
  userDeviceSchema,
  fsSchema,
  genericVhostUserSchema,
  pmemSchema,
  vdpaSchema,
  vsockSchema,
  restoreSchema,
  resizeSchema,
  resizeDiskSchema,
  resizeZoneSchema,
  removeDeviceSchema,
  snapshotSchema,
  coredumpSchema,
  sendMigrationSchema,
  receiveMigrationSchema,
];

const fails = (schema: ObjectSchema, text: string): JsonError => {
  const error = thrown(() => decodeJson(schema, text));
  if (error instanceof JsonError) return error;
  throw new Error(`${text} threw ${error}`, { cause: error });
};

/** What an empty VmConfig means on x86-64: rest-api.md, section 3.1. */
const DEFAULT_VM =
  '{"cpus":{"boot_vcpus":1,"max_vcpus":1,"kvm_hyperv":false,"max_phys_bits":46,"features":{"amx":false},"nested":true,' +
  '"core_scheduling":"Vm","profile":"Host"},"memory":{"size":536870912,"mergeable":false,"hotplug_method":"Acpi",' +
  '"shared":false,"hugepages":false,"prefault":false,"reserve":false,"thp":true},"rng":{"pci_segment":0,' +
  '"src":"/dev/urandom"},"serial":{"mode":"Null"},"console":{"mode":"Tty","pci_segment":0},' +
  '"debug_console":{"mode":"Off","iobase":233},"pvpanic":false,"iommu":false,"watchdog":false,"landlock_enable":false}';

describe("VmConfig", () => {
  test("an empty object is the default VM", () => {
    expect(JSON.parse(encodeJson(vmSchema, decodeJson(vmSchema, "{}")))).toEqual(JSON.parse(DEFAULT_VM));
  });

  test("what the command line makes survives the way through JSON", () => {
    const config = configOf({
      cpus: ["boot=2,max=4,topology=1:4:1:1,affinity=[0@[1-3]]"],
      memory: ["size=0"],
      "memory-zone": ["id=z,size=1G,shared=on"],
      disk: ["path=/d,id=a,queue_affinity=[0@[1,2]],bw_size=1,bw_refill_time=2", "path=/e,image_type=qcow2"],
      net: ["tap=t,mac=2E:89:A8:E4:92:4D,ip=::1,mask=::"],
      numa: ["guest_numa_id=0,cpus=[0],distances=[1@20]"],
      platform: ["uuid=u,oem_strings=[a,b]"],
      vsock: ["cid=3,socket=s,iommu=on"],
      "debug-console": ["file=/f"],
    });
    const text = encodeJson(vmSchema, config);
    expect(decodeJson(vmSchema, text)).toEqual(config);
    const json = JSON.parse(text);
    expect(json.disks[0].rate_limiter_config).toEqual({
      bandwidth: { size: 1, one_time_burst: 0, refill_time: 2 },
      ops: null,
    });
    expect(json.vsock.iommu).toBe(true);
    expect(json.disks[0].iommu).toBeUndefined();
    expect(json.iommu).toBe(false);
    expect(json.disks[1].disable_io_uring).toBe(false);
    expect(json.platform.system_uuid).toBe("u");
  });
});

describe("members", () => {
  test("null is what is not there, only where a member can be unset", () => {
    expect(decodeJson(resizeSchema, '{"desired_vcpus":null,"desired_ram":5}')).toEqual({ desired_ram: 5 });
    expect(fails(vmSchema, '{"cpus":null}').path).toBe("cpus");
    expect(fails(vmSchema, '{"debug_console":null}').path).toBe("debug_console");
    expect(fails(restoreSchema, '{"source_url":"file:///x","zone_updates":null}').path).toBe("zone_updates");
  });

  test("an unset token burst is printed as null", () => {
    const disk = decodeJson(diskSchema, '{"rate_limiter_config":{"ops":{"size":1,"refill_time":2}}}');
    expect(encodeJson(diskSchema, disk)).toContain(
      '"rate_limiter_config":{"bandwidth":null,"ops":{"size":1,"one_time_burst":null,"refill_time":2}}',
    );
  });

  test("unknown ones are ignored, except in a rate limiter", () => {
    expect(decodeJson(removeDeviceSchema, '{"x":{"y":[1,{"z":null}]},"id":"a","__proto__":{"id":"b"}}')).toEqual({
      id: "a",
    });
    const error = fails(diskSchema, '{"rate_limiter_config":{"bw":{}}}');
    expect(error.path).toBe("rate_limiter_config.bw");
  });

  test("old names are read, and printed under the new ones", () => {
    const vm = decodeJson(vmSchema, '{"platform":{"uuid":"u","serial_number":"s"}}');
    expect(vm.platform?.system_uuid).toBe("u");
    expect(encodeJson(vmSchema, vm)).toContain('"system_serial_number":"s","system_uuid":"u"');
  });

  test("numbers of file descriptors mean nothing", () => {
    expect(decodeJson(netSchema, '{"fds":[3,4]}').fds).toBeUndefined();
    expect(decodeJson(deviceSchema, '{"fd":3}').fd).toBeUndefined();
    expect(decodeJson(vmSchema, '{"platform":{"iommufd_fd":3}}').platform?.iommufd_fd).toBeUndefined();
    expect(fails(netSchema, '{"fds":["3"]}').path).toBe("fds[0]");
  });

  test("of features that this build lacks do not exist", () => {
    const vm = decodeJson(vmSchema, '{"gdb":7,"ivshmem":"x","payload":{"igvm":1},"platform":{"sev_snp":1}}');
    expect(encodeJson(vmSchema, vm)).not.toMatch(/gdb|ivshmem|igvm|sev_snp/);
  });

  test("MAC and IP addresses are checked and put in canonical form", () => {
    const net = decodeJson(netSchema, '{"mac":"2E:00:00:00:00:0A","ip":"1::0:2","mask":"255.255.255.0"}');
    expect([net.mac, net.ip, net.mask]).toEqual(["2e:00:00:00:00:0a", "1::2", "255.255.255.0"]);
  });

  test("64-bit numbers keep their range and are printed as integers", () => {
    const text = encodeJson(
      resizeDiskSchema,
      decodeJson(resizeDiskSchema, '{"id":"a","desired_size":18446744073709551615}'),
    );
    expect(text).toMatch(/"desired_size":184467440737095\d{5}}/);
    expect(decodeJson(resizeDiskSchema, text).desired_size).toBeLessThan(2 ** 64);
    expect(plainJson({ a: 18446744073709551615n, b: 2 ** 60, c: undefined, d: [null, true] })).toBe(
      '{"a":18446744073709551615,"b":1152921504606846976,"d":[null,true]}',
    );
  });
});

describe("the document", () => {
  test.each([
    ["", "ends too early"],
    ["  ", "ends too early"],
    ["{", "name of a member"],
    ['{"id"', "expected ':'"],
    ['{"id":"a"', "expected ','"],
    ['{"id":"a",}', "after a comma"],
    ['{"id":"a"} x', "after the end"],
    ['{"id":"a"}\u00a0', "after the end"],
    ['{"id":"a', "does not end"],
    ['{"id":"\t"}', "control character"],
    ['{"id":"\\x"}', "escape sequence"],
    ['{"id":"\\ud800"}', "surrogate"],
    ["{'id':1}", "double quotes"],
    ['{"x":nul,"id":"a"}', "expected a value"],
    ['{"x":01,"id":"a"}', "malformed number"],
    ['{"x":1.,"id":"a"}', "malformed number"],
    ['{"x":+1,"id":"a"}', "expected a value"],
    ['{"x":Infinity,"id":"a"}', "expected a value"],
    ["[1]", "expected an object"],
    ["null", "expected an object"],
    ["\ufeff{}", "expected a value"],
    [`{"x":${"[".repeat(200)}`, "levels of nesting"],
  ])("%p is refused: %s", (text, problem) => {
    expect(fails(removeDeviceSchema, text).message).toContain(problem);
  });

  test("errors say where", () => {
    const error = fails(vmSchema, '{\n  "disks": [\n    {},\n    {"num_queues": "x"}\n  ]\n}');
    expect({ path: error.path, line: error.line, column: error.column }).toEqual({
      path: "disks[1].num_queues",
      line: 4,
      column: 20,
    });
    expect(error.message).toBe(
      "disks[1].num_queues: expected an integer from 0 to 18446744073709551615, found a string at line 4 column 20",
    );
  });

  test("it must be UTF-8", () => {
    expect(thrown(() => decodeJsonBytes(removeDeviceSchema, Buffer.from([0x7b, 0xff, 0x7d])))).toBeInstanceOf(
      JsonError,
    );
  });

  test("what is printed is ASCII and says the same", () => {
    const text = encodeJson(removeDeviceSchema, { id: 'ä\u{1f600}"\\\u007f' });
    expect(text).toMatch(/^[\x20-\x7e]*$/);
    expect(JSON.parse(text)).toEqual({ id: 'ä\u{1f600}"\\\u007f' });
  });
});

describe("every object of the API", () => {
  for (const schema of SCHEMAS) {
    test(`${schema.name}: a document with every member is read and printed again`, () => {
      const text = encodeJson(schema, decodeJson(schema, sampleObject(schema)));
      expect(encodeJson(schema, decodeJson(schema, text))).toBe(text);
    });

    test(`${schema.name}: any one thing wrong is refused and named`, () => {
      let count = 0;
      for (const { text, path, why } of badDocuments(schema)) {
        const error = thrown(() => decodeJson(schema, text));
        if (!(error instanceof JsonError)) throw new Error(`${path}: ${why}: ${error}`, { cause: error });
        // What is missing is named in the message, its object by the path.
        if (!error.message.includes(path) && !path.endsWith(/member '(\w+)'/.exec(error.message)?.[1] ?? " "))
          throw new Error(`${path} (${why}) is not named in: ${error.message}`);
        count++;
      }
      expect(count).toBeGreaterThan(3 * jsonPlan(schema).slots.filter(({ member }) => isRequired(member)).length);
    });
  }
});

const ROUNDS = 20_000;

test("random documents are read, or refused with an error of their own", () => {
  const random = new Random(0x150);
  const pieces = [
    ...'{}[],:"\\ \n0-.e',
    "null",
    "true",
    '"id":',
    '"disks":',
    '"cpus":',
    "18446744073709551616",
    "\\u",
  ] as const;
  const samples = SCHEMAS.map(sampleObject);
  let refused = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const index = random.below(SCHEMAS.length);
    let text = samples[index] ?? "{}";
    for (let edits = random.below(4); edits > 0; edits--) {
      const at = random.below(text.length + 1);
      text =
        text.slice(0, at) +
        random.pick(pieces as unknown as readonly [string, ...string[]]) +
        text.slice(at + random.below(3));
    }
    try {
      decodeJson(SCHEMAS[index] ?? vmSchema, text);
    } catch (error) {
      if (!(error instanceof JsonError)) throw new Error(`${text} threw ${error}`, { cause: error });
      refused++;
    }
  }
  expect(refused).toBeGreaterThan(ROUNDS / 4);
  expect(refused).toBeLessThan(ROUNDS);
});

test("a document of 4 MiB takes no longer than it is", () => {
  const start = performance.now();
  const many = "1,".repeat(2_000_000);
  decodeJson(genericVhostUserSchema, `{"socket":"s","device_type":1,"queue_sizes":[${many}1]}`);
  fails(removeDeviceSchema, `{"id":"${"\\n".repeat(2_000_000)}`);
  fails(removeDeviceSchema, `{"id":${"9".repeat(4_000_000)}}`);
  fails(removeDeviceSchema, `{"x":${"[".repeat(4_000_000)}`);
  // Quadratic behaviour would take minutes.
  expect(performance.now() - start).toBeLessThan(5000);
});
