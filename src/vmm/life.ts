import { UnsupportedError } from "../config/errors.ts";
import type { VmCoredumpData, VmResize, VmResizeDisk } from "../config/schema/actions.ts";
import type { VmConfig } from "../config/schema/vm.ts";
import { isVirtio } from "../machine/pci-devices.ts";
import { BalloonStatistics, guestRamBytes, resizeBalloon } from "./balloon.ts";
import { type NewDevice, placedAs, withDevice, withGenerated, withoutDevice } from "./control/device-kinds.ts";
import type { DeviceNode, DeviceTree, PciDeviceInfo, VmCounters } from "./control/vm-info.ts";
import type { LifeEnd, VmLife } from "./control/vm-life.ts";
import type { LifeMetrics } from "./control/vm-metrics.ts";
import { deviceCounters } from "./device-counters.ts";
import type { PlacedDevice } from "./devices/placed-device.ts";
import { resizeDisk } from "./resize-disk.ts";
import { settle } from "./settle.ts";
import type { VcpuOutcome } from "./vcpu-loop.ts";
import { Vm, type VmSurroundings } from "./vm.ts";

const ENDS: Readonly<Record<VcpuOutcome, LifeEnd>> = { reset: "reset", "power-off": "powerOff", stopped: "stopped" };

/** A VM as the state machine steers it. */
export class Life implements VmLife {
  #config: VmConfig;
  readonly #vm: Vm;
  readonly #statistics = new BalloonStatistics();

  constructor(config: VmConfig, host: VmSurroundings) {
    this.#config = config;
    const onNotice: VmSurroundings["onNotice"] = (notice) => {
      if (notice.kind === "statistics") this.#statistics.told();
      else host.onNotice(notice);
    };
    this.#vm = new Vm(config, { ...host, onNotice });
  }

  get config(): VmConfig {
    return this.#config;
  }

  get over(): Promise<LifeEnd> {
    return this.#vm.over.then((outcome) => ENDS[outcome]);
  }

  async start(): Promise<void> {
    settle.starting();
    await this.#vm.start();
    this.#config = withGenerated(this.#config, this.#placed);
    settle.booted();
  }

  pause(): void {
    this.#vm.pause();
  }

  resume(): void {
    this.#vm.resume();
  }

  stop(): void {
    this.#vm.stop();
  }

  close(): void {
    this.#vm.close();
    settle.over();
  }

  powerButton(): void {
    this.#vm.powerButton();
  }

  nmi(): void {
    this.#vm.nmi();
  }

  /** @throws VmIsOverError, CoreDumpError */
  coredump({ destination_url }: VmCoredumpData): Promise<void> {
    return this.#vm.dumpCore(destination_url);
  }

  /** @throws BalloonError, UnsupportedError */
  resize({ desired_vcpus: vcpus, desired_ram: ram, desired_balloon: balloon }: VmResize): void {
    const { cpus, memory } = this.#config;
    if ((vcpus ?? cpus.boot_vcpus) !== cpus.boot_vcpus || (ram ?? memory.size) !== memory.size)
      throw new UnsupportedError(["vm.resize of vCPUs and RAM of a booted VM"]);
    const { machine } = this.#vm;
    if (balloon !== undefined && machine !== undefined) this.#config = resizeBalloon(machine, this.#config, balloon);
  }

  memoryActualSize(): number {
    const { machine } = this.#vm;
    return machine === undefined ? this.#config.memory.size : guestRamBytes(machine, this.#config);
  }

  /** The configuration says from then on where the device is, so that the next boot finds it there. */
  async addDevice(device: NewDevice): Promise<PciDeviceInfo> {
    const placed = await this.#vm.plug(device);
    this.#config = withDevice(this.#config, placedAs(device, placed));
    return { id: placed.id, bdf: placed.bdf };
  }

  removeDevice(id: string): void {
    this.#vm.requestEject(id);
    this.#config = withoutDevice(this.#config, id) ?? this.#config;
  }

  /** Tells the guest the size of the terminal it is on. */
  resizeConsole(): void {
    this.#vm.resizeConsole();
  }

  /** @throws UnknownDeviceError, ImageSizeError */
  resizeDisk({ id, desired_size }: VmResizeDisk): void {
    const { machine } = this.#vm;
    if (machine !== undefined) resizeDisk(machine, id, desired_size);
  }

  async counters(): Promise<VmCounters> {
    const { machine } = this.#vm;
    if (machine !== undefined) await this.#statistics.refresh(machine, this.#config);
    const entries = this.#placed.flatMap(({ id, wiring, counters: queues }) => {
      const counters = isVirtio(wiring) ? deviceCounters(wiring, queues) : undefined;
      return counters === undefined ? [] : [[id, counters] as const];
    });
    return Object.fromEntries(entries);
  }

  async metrics(): Promise<LifeMetrics> {
    const { lifeMetrics } = await import("./life-metrics.ts");
    const { machine } = this.#vm;
    return machine === undefined ? { devices: [], vcpus: [] } : lifeMetrics(machine, this.#vm.vcpuStatsFds);
  }

  deviceTree(): DeviceTree {
    const nodes: DeviceNode[] = [{ id: "__ioapic", resources: [], children: [] }];
    if (this.#config.serial.mode !== "Off") nodes.push({ id: "__serial", resources: [], children: [] });
    for (const device of this.#placed) {
      const { id, transportId: parent, memory } = device;
      const node = pciNode(device);
      if (parent === undefined) nodes.push(node);
      else {
        const resources = memory.map(({ gpa: base, size }) => ({ MmioAddressRange: { base, size } }));
        nodes.push({ ...node, id: parent, children: [id] }, { id, resources, children: [], parent });
      }
    }
    return Object.fromEntries(nodes.map((node) => [node.id, node]));
  }

  get #placed(): readonly PlacedDevice[] {
    return this.#vm.machine?.pci.placed ?? [];
  }
}

function pciNode({ id, bdf, fn }: PlacedDevice): DeviceNode {
  return {
    id,
    resources: (fn?.bars ?? []).map(({ index, mapped, size, kind, prefetchable = false }) => {
      const type_ = kind === "memory32" ? "Mmio32" : "Mmio64";
      return { PciBar: { index, base: mapped, size, type_, prefetchable } };
    }),
    children: [],
    pci_bdf: bdf,
  };
}
