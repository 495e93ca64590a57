import { describe, expect, test } from "bun:test";
import { ConfigurationError, OptionError, UnsupportedError, ValidationError } from "../../../src/config/errors.ts";
import { OptionTextError } from "../../../src/config/grammar/errors.ts";
import { OPTIONS, type OptionName } from "../../../src/config/options.ts";
import { keysOf, type ObjectSchema, parseOption } from "../../../src/config/schema/object-schema.ts";
import { refuseUnsupportedConfig } from "../../../src/config/supported.ts";
import { validateVmConfig } from "../../../src/config/validate/validate.ts";
import { readVmConfig } from "../../../src/config/vm-config.ts";
import { parseApiSocket } from "../../../src/config/vmm-options.ts";
import { given } from "./command-line.ts";

/** A small generator of pseudo-random numbers (xorshift32): the same sequence in every run. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

const FRAGMENTS = [
  ...'[]",=@:-+ KMG0123456789abxon/.é\t\n\0',
  "on",
  "off",
  "id=",
  "[0-",
  "18446744073709551616",
  "4294967295",
  "[[",
  "]]",
  '""',
  "@[",
  "0x",
  "::",
  "1.2.3.4",
  "__proto__",
  "constructor",
];

const schemas: readonly (readonly [OptionName, ObjectSchema])[] = OPTIONS.flatMap((option) =>
  "schema" in option ? [[option.name, option.schema] as const] : [],
);

/** Text that looks more or less like an option string. */
function text(below: (limit: number) => number, keys: readonly string[]): string {
  let result = "";
  for (let items = below(5); items >= 0; items--) {
    const key = keys[below(keys.length)] ?? "";
    if (below(8) > 0) result += `${key}=`;
    for (let parts = below(5); parts > 0; parts--) result += FRAGMENTS[below(FRAGMENTS.length)] ?? "";
    if (below(8) > 0) result += ",";
  }
  return below(4) === 0 ? result : result.replace(/,$/, "");
}

describe("random option strings", () => {
  for (const [name, schema] of schemas)
    test(`--${name}: read, or refused with an error of the grammar`, () => {
      const below = random(0x5eed + name.length * 7919);
      const keys = keysOf(schema).map((key) => key.name);
      let readable = 0;
      for (let round = 0; round < 2000; round++) {
        const option = text(below, keys);
        try {
          parseOption(schema, option);
          readable++;
        } catch (error) {
          if (!(error instanceof OptionTextError)) throw new Error(`'${option}' threw ${error}`, { cause: error });
          expect(error.message.length).toBeGreaterThan(0);
        }
      }
      expect(readable).toBeLessThan(2000);
    });

  test("--api-socket always comes to something", () => {
    const below = random(0xc0ffee);
    for (let round = 0; round < 2000; round++) {
      const option = text(below, ["path", "fd"]);
      try {
        parseApiSocket(option);
      } catch (error) {
        expect(error).toBeInstanceOf(OptionError);
      }
    }
  });
});

test("random VMs are read and validated, or refused with an error of this layer", () => {
  const below = random(0xbadcafe);
  const seen = { configuration: 0, validation: 0, unsupported: 0, fine: 0 };
  const values: Readonly<Partial<Record<OptionName, readonly string[]>>> = {
    cpus: ["boot=2", "boot=2,max=1", "topology=1:1:1:1", "boot=x", "boot=4294967295"],
    memory: [
      "size=0",
      "shared=on",
      "shared=on,mergeable=on",
      "hugepages=on,hugepage_size=3",
      "size=18446744073709551615",
    ],
    "memory-zone": ["id=a", "id=a,size=1G,shared=on", "id=__z"],
    disk: ["path=p", "id=a", "queue_size=65535", "num_queues=18446744073709551615", "socket=s,vhost_user=on"],
    net: ["tap=", "fd=[0-9]", "mac=x", "mtu=0"],
    numa: ["guest_numa_id=1,cpus=[0]", "guest_numa_id=0,pci_segments=[0-99]"],
    platform: ["num_pci_segments=0", "num_pci_segments=65535", "iommu_segments=[0]"],
    console: ["off", "tty,iommu=on", "file=f"],
    balloon: ["size=1G", ""],
    vsock: ["cid=2,socket=s", "cid=3,socket=s"],
    device: ["path=p", "fd=3", "path=p,x_exclude_mmap_bars=[0-8191]"],
  };
  const names = Object.keys(values) as OptionName[];
  for (let round = 0; round < 3000; round++) {
    const options: Partial<Record<OptionName, string[]>> = { kernel: ["k"] };
    for (let count = below(5); count > 0; count--) {
      const name = names[below(names.length)] ?? "disk";
      const choices = values[name] ?? [];
      options[name] = [...(options[name] ?? []), choices[below(choices.length)] ?? ""];
    }
    try {
      const { config } = validateVmConfig(readVmConfig(given(options), "x86_64").config);
      refuseUnsupportedConfig(config);
      seen.fine++;
    } catch (error) {
      if (error instanceof ConfigurationError) seen.configuration++;
      else if (error instanceof ValidationError) seen.validation++;
      else if (error instanceof UnsupportedError) seen.unsupported++;
      else throw error;
    }
  }
  for (const count of Object.values(seen)) expect(count).toBeGreaterThan(100);
});

describe("long option strings take no longer than they are", () => {
  const LENGTH = 120_000;
  const fill = (piece: string) => piece.repeat(LENGTH / piece.length);
  for (const [name, option] of [
    ["cpus", `affinity=[0@[${fill("1,")}x]]`],
    ["cpus", `affinity=[${fill("1@[0-8191],").slice(0, -1)}]`],
    ["cpus", `boot=${fill("0")}x`],
    ["memory", `size=${fill("K")}x`],
    ["memory", `size=1${fill("K")}x`],
    ["numa", `guest_numa_id=0,cpus=${fill("[")}1${fill("]")}x`],
    ["numa", `guest_numa_id=0,cpus=1${fill("[")}${fill("]")}2`],
    ["platform", `oem_strings=[${fill(",")}]`],
    ["disk", fill('""')],
    ["net", `ip=${fill(":")}`],
    ["disk", `path=${fill('""')}`],
  ] as const)
    test(`--${name} ${option.slice(0, 24)}`, () => {
      const schema = schemas.find(([other]) => other === name)?.[1];
      if (schema === undefined) throw new Error(`no option --${name}`);
      const start = performance.now();
      try {
        parseOption(schema, option);
      } catch (error) {
        expect(error).toBeInstanceOf(OptionTextError);
      }
      // Quadratic behaviour would take tens of seconds.
      expect(performance.now() - start).toBeLessThan(2000);
    });
});
