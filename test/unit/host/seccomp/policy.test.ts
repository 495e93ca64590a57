import { expect, test } from "bun:test";
import { type PolicyText, readPolicy } from "../../../../src/host/seccomp/policy.ts";

const numbers = { syscalls: { ioctl: 16, read: 0 }, constants: { KVM_RUN: 0xae80, ENOSYS: 38, MASK: 3 } };
const read = (...rules: PolicyText["rules"]) => readPolicy([{ threads: "t", rules }], numbers);

test("names become numbers, and files add up", () => {
  const first: PolicyText = { threads: "a", rules: [{ syscall: ["read", "ioctl"], why: "x" }] };
  const second: PolicyText = {
    threads: "b",
    rules: [
      { syscall: "ioctl", args: { "1": { mask: ["MASK"], is: [1, 2] } }, instead: { answer: "ENOSYS" }, why: "y" },
    ],
  };
  const policy = readPolicy([first, second], numbers);
  expect(policy.get(0)).toEqual([{ tests: [], outcome: "allow" }]);
  expect(policy.get(16)?.[1]).toEqual({ tests: [{ index: 1, mask: 3, values: [1, 2] }], outcome: { errno: 38 } });
});

test.each([
  ["there is no system call nosuch", { syscall: "nosuch", why: "x" }],
  ["no reason is given", { syscall: "read", why: " " }],
  ["KVM_RUM is no known constant", { syscall: "ioctl", args: { "1": ["KVM_RUM"] }, why: "x" }],
  ["there is no argument 6", { syscall: "ioctl", args: { "6": [1] }, why: "x" }],
  ["argument 1 can have no value", { syscall: "ioctl", args: { "1": [] }, why: "x" }],
  ["the mask of argument 1 hides 4", { syscall: "ioctl", args: { "1": { mask: ["MASK"], is: [4] } }, why: "x" }],
  ["4294967296 is no known constant", { syscall: "ioctl", args: { "1": [0x1_0000_0000] }, why: "x" }],
  ["calls are refused with EACCES only", { syscall: "read", instead: { refuse: "EIO" }, why: "x" }],
  ["EWHAT is no known errno", { syscall: "read", instead: { answer: "EWHAT" }, why: "x" }],
] as const)("a mistake is told: %s", (message, rule) => {
  expect(() => read(rule)).toThrow(message);
});
