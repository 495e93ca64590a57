import { describe, expect, test } from "bun:test";
import { createEventFd, drainEventFd } from "../../src/host/eventfd.ts";
import { libc } from "../../src/host/libc.ts";
import { type IoAccess, type IoSpace, VcpuExit } from "../../src/hypervisor/hypervisor.ts";
import { GsiRouting } from "../../src/hypervisor/kvm/gsi-routing.ts";
import { KvmSystem } from "../../src/hypervisor/kvm/system.ts";
import { KvmVcpu } from "../../src/hypervisor/kvm/vcpu.ts";
import { SharedArena } from "../../src/threads/arena.ts";
import { CODE, KvmMachine } from "./kvm-machine.ts";

/** Notes every access and answers reads from `value`. */
class Recorder implements IoSpace {
  readonly log: string[] = [];
  value = { lo: 0, hi: 0 };

  read(address: number, access: IoAccess): void {
    this.log.push(`r${access.size} ${address.toString(16)}`);
    access.lo = this.value.lo;
    access.hi = this.value.hi;
  }

  write(address: number, { size, lo, hi }: IoAccess): void {
    this.log.push(`w${size} ${address.toString(16)} ${lo.toString(16)} ${hi.toString(16)}`);
  }
}

const word = (value: number): number[] => [value & 255, (value >> 8) & 255, (value >> 16) & 255, (value >>> 24) & 255];
const MOV_EAX = 0xb8;
const MOV_EDX = 0xba;
const [OUT_DX_AL, OUT_DX_EAX, IN_EAX_DX] = [0xee, 0xef, 0xed];
/** jmp to itself */
const SPIN = [0xeb, 0xfe];

describe("vCPU", () => {
  test("port accesses of each width and string output reach the port space", () => {
    const machine = new KvmMachine([
      ...[MOV_EAX, ...word(0x1122_3344), MOV_EDX, ...word(0x510)],
      ...[OUT_DX_AL, 0x66, OUT_DX_EAX, OUT_DX_EAX, IN_EAX_DX],
      ...[0xa3, ...word(0x2000)],
      ...[0xbe, ...word(CODE), 0xb9, ...word(3), 0xf3, 0x6e],
    ]);
    const ports = new Recorder();
    ports.value = { lo: 0xcafe_f00d, hi: 0 };
    while (ports.log.length < 7) expect(machine.vcpu.run(ports, ports)).toBe(VcpuExit.SERVED);
    expect(ports.log).toEqual([
      "w1 510 44 0",
      "w2 510 3344 0",
      "w4 510 11223344 0",
      "r4 510",
      "w1 510 b8 0",
      "w1 510 44 0",
      "w1 510 33 0",
    ]);
    expect(machine.memory.readU32(0x2000)).toBe(0xcafe_f00d);
    machine.close();
  });

  test("memory-mapped accesses of each width reach the memory space", () => {
    const machine = new KvmMachine([
      ...[MOV_EAX, ...word(0x8182_8384), 0xa3, ...word(0xe800_0000)],
      ...[0x66, 0xa3, ...word(0xe800_0010), 0xa2, ...word(0xe800_0021)],
      ...[0xa1, ...word(0xe800_0030), 0xa3, ...word(0x2000), ...SPIN],
    ]);
    const memory = new Recorder();
    memory.value = { lo: 0x0102_0304, hi: 0 };
    while (memory.log.length < 4) expect(machine.vcpu.run(memory, memory)).toBe(VcpuExit.SERVED);
    machine.vcpu.completeAccess();
    expect(memory.log).toEqual(["w4 e8000000 81828384 0", "w2 e8000010 8384 0", "w1 e8000021 84 0", "r4 e8000030"]);
    KvmVcpu.setImmediateExit(machine.handle, true);
    expect(machine.vcpu.run(memory, memory)).toBe(VcpuExit.INTERRUPTED);
    machine.close();
  });

  test("a triple fault is told apart", () => {
    const machine = new KvmMachine([0x0f, 0x0b]);
    const nothing = new Recorder();
    expect(machine.vcpu.run(nothing, nothing)).toBe(VcpuExit.TRIPLE_FAULT);
    machine.close();
  });

  test("state saved from one VM goes on in another", () => {
    const counting = [MOV_EDX, ...word(0x80), 0x31, 0xc0, 0x40, OUT_DX_EAX, 0xeb, 0xfc];
    const first = new KvmMachine(counting);
    const log = new Recorder();
    for (let i = 0; i < 5; i++) first.vcpu.run(log, log);
    first.vcpu.completeAccess();
    const state = first.vcpu.saveState();
    first.close();
    const second = new KvmMachine(counting);
    second.vcpu.restoreState(state);
    for (let i = 0; i < 2; i++) second.vcpu.run(log, log);
    expect(log.log.at(-1)).toBe("w4 80 7 0");
    expect(() => second.vcpu.restoreState({ ...state, sregs: new Uint8Array(3) })).toThrow("no usable sregs");
    second.close();
  });
});

describe("VM", () => {
  test("an ioeventfd takes the write instead of an exit, until it is deassigned", () => {
    const machine = new KvmMachine([0xa3, ...word(0xe800_6004), MOV_EDX, ...word(0x80), OUT_DX_AL, 0xeb, 0xf8 - 5]);
    const fd = createEventFd();
    machine.vm.assignIoEventFd(0xe800_6004, fd);
    const log = new Recorder();
    machine.vcpu.run(log, log);
    expect([log.log, drainEventFd(fd)]).toEqual([["w1 80 0 0"], true]);
    machine.vm.deassignIoEventFd(0xe800_6004, fd);
    machine.vcpu.run(log, log);
    expect([log.log.at(-1), drainEventFd(fd)]).toEqual(["w4 e8006004 0 0", false]);
    libc.close(fd);
    machine.close();
  });

  test("routes are added, changed, removed and refused when the table is full", () => {
    const machine = new KvmMachine(SPIN);
    const arena = new SharedArena(1 << 16);
    const routing = new GsiRouting(machine.vm.fd, arena.allocate(GsiRouting.sizeOf(3)));
    const fd = createEventFd();
    machine.vm.assignIrqfd(fd, 24);
    for (const gsi of [24, 25, 26]) routing.route(gsi, 0xfee0_0000, 0, 0x30);
    expect(() => routing.route(27, 0xfee0_0000, 0, 0x31)).toThrow("full at 3 routes");
    routing.unroute(25);
    routing.unroute(25);
    routing.route(27, 0xfee0_0000, 0, 0x31);
    routing.route(24, 0xfee0_1000, 0, 0x32);
    machine.vm.deassignIrqfd(fd, 24);
    expect(() => machine.vm.assignIrqfd(-1, 24)).toThrow("KVM_IRQFD for GSI 24");
    libc.close(fd);
    arena.close();
    machine.close();
  });
});

test("a path that is no KVM is refused with advice", () => {
  expect(() => new KvmSystem("/nonexistent")).toThrow("load the kvm_intel or kvm_amd module");
  expect(() => new KvmSystem("/dev/null")).toThrow("is not KVM");
});
