import { expect, test } from "bun:test";
import { join } from "node:path";
import { openApiDocument } from "../../../../src/api/openapi/document.ts";
import { clientTypes } from "../../../../src/api/openapi/typescript.ts";
import { flatten } from "./flatten.ts";
import reference from "./reference.json";

/** In which facts our document differs from the published one, and why. Lines are `fact: published -> ours`. */
const INTENDED: readonly (readonly [reason: string, facts: RegExp])[] = [
  ["integers carry the range that is accepted, and formats that hold it", / (format|minimum|maximum): /],
  ["what an endpoint answers when it fails is told, and in what form", /^(get|put) \S+ (400|404|409|429|500): /],
  ["the published 405 is never sent: it is 500", / 405: nothing -> -$/],
  ["vmm.shutdown answers 200", /^put \/vmm\.shutdown 20[04]: /],
  ["operations have the names that generators make up for nameless ones", / operationId: - -> \w+(Get|Put)$/],
  [
    "vm.add-user-device takes all that a user device has",
    /^(VmAddUserDevice|put \/vm\.add-user-device body: VmAddUserDevice -> UserDeviceConfig)/,
  ],
  [
    "members of features that this build lacks are ignored",
    /^(PayloadConfig\.(igvm|host_data)|PlatformConfig\.(tdx|sev_snp)) /,
  ],
  [
    "a configuration without a payload is accepted, and refused when it boots",
    /^VmConfig\.payload required: true -> -$/,
  ],
  [
    "what has a default need not be given",
    /^(RateLimitGroupConfig|FsConfig|VdpaConfig|NumaDistance|PciSegmentConfig)\.\w+ required: true -> -$/,
  ],
  [
    "what has no default must be given",
    /^(CpuTopology|VmResizeDisk|VmResizeZone|VmRemoveDevice|VmSnapshotConfig|VmCoredumpData)\.\w+ required: - -> true$/,
  ],
  ["what is always sent is marked so", /^(VmmPingResponse|VmInfo|DeviceNode)\.\w+ required: - -> true$/],
  ["defaults that the implementation has are told", / default: - -> /],
  ["the network's address has no default", /^NetConfig\.(ip|mask) default: /],
  ["user-mode networking is ours", /^NetConfig\.(user|forward(\[\])?) /],
  ["FlatVmdk images are accepted", /^DiskConfig\.image_type enum: /],
  ["a choice of words is told", /^(MemoryConfig\.hotplug_method|NetConfig\.vhost_mode) enum: - -> /],
  ["the entropy device can be limited too", /^RngConfig\.rate_limiter_config /],
  ["a rate limiter takes no unknown members", /^RateLimiterConfig additionalProperties: - -> false$/],
  ["a balloon can have the guest tell its statistics", /^BalloonConfig\.statistics /],
  ["the device tree tells parents", /^DeviceNode\.parent type: - -> string$/],
  ["error bodies are described", /^ErrorTexts/],
  ["an empty zone id is refused by name when it is used", /^VmMemoryZoneUpdateData\.id minLength: /],
];

test("our document differs from the published one where that is intended, and nowhere else", () => {
  const published = new Map<string, string>(Object.entries(reference));
  const ours = flatten(openApiDocument());
  const differences: string[] = [];
  for (const [fact, value] of published) {
    const other = ours.get(fact);
    if (other !== value) differences.push(`${fact}: ${value} -> ${other ?? "-"}`);
  }
  for (const [fact, value] of ours) if (!published.has(fact)) differences.push(`${fact}: - -> ${value}`);
  const reasons = differences.map((line) => INTENDED.filter(([, facts]) => facts.test(line)).map(([reason]) => reason));
  expect(differences.filter((_, index) => reasons[index]?.length === 0)).toEqual([]);
  // A reason without a difference is out of date.
  expect(INTENDED.map(([reason]) => reason).filter((reason) => !reasons.flat().includes(reason))).toEqual([]);
  expect(published.size).toBeGreaterThan(700);
});

test("docs/openapi.yaml is the document of this build", async () => {
  const file = Bun.file(join(import.meta.dir, "../../../../docs/openapi.yaml"));
  expect(Bun.YAML.parse(await file.text())).toEqual(JSON.parse(JSON.stringify(openApiDocument())));
});

test("all references lead somewhere", () => {
  const document = JSON.stringify(openApiDocument());
  const { components } = JSON.parse(document);
  const names = [...document.matchAll(/"#\/components\/schemas\/(\w+)"/g)].map(([, name]) => name ?? "");
  expect(names.length).toBeGreaterThan(100);
  expect(names.filter((name) => !Object.hasOwn(components.schemas, name))).toEqual([]);
});

test("the client's types are those of this build", async () => {
  const file = Bun.file(join(import.meta.dir, "../../../../src/api/client/types.ts"));
  const plain = (text: string): string => text.replaceAll(/\s+/g, "").replaceAll(";}", "}");
  expect(plain(await file.text())).toBe(plain(clientTypes()));
});
