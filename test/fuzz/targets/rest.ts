import { METHODS } from "../../../src/api/http/request-parser.ts";
import { BASE_PATH, ENDPOINTS } from "../../../src/api/rest/endpoints.ts";
import { makeRouter } from "../../../src/api/rest/router.ts";
import { sampleObject } from "../../unit/config/json/corpus.ts";
import { fakeVmm } from "../../unit/vmm/control/fake-life.ts";
import type { FuzzTarget } from "../engine/target.ts";

const VM = '{"payload":{"kernel":"/k"},"console":{"mode":"Off"},"disks":[{"path":"/d","id":"d","image_type":"Raw"}]}';
const IDENTITY = { buildVersion: "v1", version: "1", features: ["kvm"] };
/** Asking where a VM is not asks the world. */
const names = Object.keys(ENDPOINTS) as (keyof typeof ENDPOINTS)[];
const STATUSES = new Set([200, 204, 400, 404, 409, 429, 500]);

/** A request: method and path, the length of its body, the body. */
const request = (name: string, body: string): Uint8Array => {
  const bytes = Buffer.from(body);
  return Buffer.from([
    1,
    names.indexOf(name as keyof typeof ENDPOINTS),
    bytes.length & 0xff,
    bytes.length >> 8,
    ...bytes,
  ]);
};

export const target: FuzzTarget = {
  what: "sequences of REST requests to a VMM whose VM is a stub",
  maxBytes: 4096,
  dictionary: [
    ...names.map((name) => request(name, "")),
    request("vm.create", VM),
    ...['"id":"d"', "null", "{}", '{"path":"/e","image_type":"Raw"}', "0", "18446744073709551616"],
  ],
  seeds: () => [
    Buffer.concat([
      request("vm.create", VM),
      request("vm.boot", ""),
      request("vm.remove-device", '{"id":"d"}'),
      request("vm.pause", ""),
    ]),
    ...names.flatMap((name) => {
      const endpoint = ENDPOINTS[name];
      return "schema" in endpoint
        ? [
            Buffer.concat([
              request("vm.create", VM),
              request("vm.boot", ""),
              request(name, sampleObject(endpoint.schema)),
            ]),
          ]
        : [];
    }),
  ],
  open: () => async (input) => {
    const { controller } = fakeVmm();
    const handle = makeRouter(controller, IDENTITY);
    for (let requests = 0; requests < 16 && !input.isEmpty; requests++) {
      const method = METHODS[input.below(METHODS.length)] ?? "GET";
      const path = BASE_PATH + (names[input.below(names.length)] ?? "");
      const body = input.take(input.u16() & 0xfff);
      const { status } = await handle({ method, path, body, fds: [] });
      if (!STATUSES.has(status)) throw new Error(`status ${status}`);
    }
  },
};
