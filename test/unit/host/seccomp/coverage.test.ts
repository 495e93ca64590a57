import { expect, test } from "bun:test";
import { BlockRequest } from "../../../../src/block/linux-abi.ts";
import { systemCalls } from "../../../../src/host/libc.ts";
import { policyNumbers, policyText, policyTexts } from "../../../../src/host/seccomp/filter-program.ts";
import { readPolicy } from "../../../../src/host/seccomp/policy.ts";
import { Sys } from "../../../../src/host/syscall-numbers.ts";
import { Kvm } from "../../../../src/hypervisor/kvm/abi.ts";
import { InterfaceRequest, TunRequest } from "../../../../src/net/tap-abi.ts";

const FILES = ["runtime", "vmm", "vcpu", "block", "net", "io", "vsock", "watcher"];
const numbers = policyNumbers("x86_64");
const list = readPolicy([...policyTexts("vmm", "x86_64").values()], numbers);

/** What code has, but no VMM: tests, the disk tool and the launcher have no filter. */
const WITHOUT_FILTER = {
  calls: ["dup", "linkat", "pidfd_open", "renameat2"],
  // Nothing restores a vCPU's state yet but tests.
  kvm: ["SET_MP_STATE", "SET_VCPU_EVENTS", "SET_XCRS", "SET_XSAVE"],
};

test("all that code asks of the kernel is in the list that holds for every thread", () => {
  const calls = {
    ...Object.fromEntries(Object.entries(systemCalls).map(([name, { number }]) => [name, number])),
    ...Sys,
  };
  const missing = Object.entries(calls).filter(([, number]) => !list.has(number));
  expect(missing.map(([name]) => name).sort()).toEqual(WITHOUT_FILTER.calls);
  const requests = new Set(list.get(systemCalls.ioctl.number)?.flatMap(({ tests }) => tests[0]?.values ?? []));
  const absent = (table: Readonly<Record<string, number>>): string[] =>
    Object.keys(table).filter((name) => !requests.has((table[name] ?? 0) >>> 0));
  expect(absent(Kvm).sort()).toEqual(WITHOUT_FILTER.kvm);
  for (const table of [TunRequest, InterfaceRequest, BlockRequest]) expect(absent(table)).toEqual([]);
});

test("rules say what they may and nothing else, and every constant has its use", () => {
  const rules = FILES.flatMap((file) => policyText(file, "x86_64").rules);
  for (const rule of rules) {
    expect(["syscall", "args", "instead", "why", "untested"]).toEqual(expect.arrayContaining(Object.keys(rule)));
    expect([undefined, true]).toContain(rule.untested);
  }
  const text = JSON.stringify(rules);
  expect(Object.keys(numbers.constants).filter((name) => !text.includes(`"${name}"`))).toEqual([]);
});
