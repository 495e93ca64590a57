import { UnsupportedError } from "../config/errors.ts";
import type { VmResize, VmResizeDisk } from "../config/schema/actions.ts";
import type { NetConfig } from "../config/schema/net.ts";
import type { VmConfig } from "../config/schema/vm.ts";
import type { VirtioWiring } from "../machine/pci-devices.ts";
import { macText } from "../net/mac-address.ts";
import { guestRamBytes, resizeBalloon } from "./balloon.ts";
import type { DeviceNode, DeviceResource, DeviceTree, VmCounters } from "./control/vm-info.ts";
import type { LifeEnd, VmLife } from "./control/vm-life.ts";
import type { LifeMetrics } from "./control/vm-metrics.ts";
import { deviceCounters } from "./device-counters.ts";
import { resizeDisk } from "./resize-disk.ts";
import type { VcpuOutcome } from "./vcpu-loop.ts";
import { Vm, type VmHost } from "./vm.ts";

const ENDS: Readonly<Record<VcpuOutcome, LifeEnd>> = { reset: "reset", "power-off": "powerOff", stopped: "stopped" };

/** Until then the guest needs the processors more than this process needs less memory. */
const SETTLE_MS = 500;

/** A VM as the state machine steers it. */
export class Life implements VmLife {
  #given: VmConfig;
  readonly #vm: Vm;

  constructor(config: VmConfig, host: VmHost) {
    this.#given = config;
    this.#vm = new Vm(config, host);
  }

  /** Devices carry their generated identifiers; those with a fixed one keep it to themselves. */
  get config(): VmConfig {
    const { disks, net, pmem, vsock } = this.#given;
    return {
      ...this.#given,
      ...(disks === undefined ? {} : { disks: this.#identified("block", disks) }),
      ...(net === undefined ? {} : { net: this.#addressed(this.#identified("net", net)) }),
      ...(pmem === undefined ? {} : { pmem: this.#identified("pmem", pmem) }),
      ...(vsock === undefined ? {} : { vsock: this.#identified("vsock", [vsock])[0] ?? vsock }),
    };
  }

  /** Network devices with their generated addresses, which a reboot leaves them. */
  #addressed(nets: readonly NetConfig[]): NetConfig[] {
    const made = this.#virtio.flatMap((entry) => (entry.kind === "net" ? entry.device : []));
    return nets.map((net, i) => {
      const mac = made[i]?.settings.mac;
      return mac === undefined ? net : { ...net, mac: macText(mac) };
    });
  }

  get over(): Promise<LifeEnd> {
    return this.#vm.over.then((outcome) => ENDS[outcome]);
  }

  async start(): Promise<void> {
    await this.#vm.start();
    // Most of the code that a boot needs is not needed again before the next one, which finds it in the executable.
    setTimeout(Bun.shrink, SETTLE_MS).unref();
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
  }

  powerButton(): void {
    this.#vm.powerButton();
  }

  nmi(): void {
    this.#vm.nmi();
  }

  /** @throws BalloonError, UnsupportedError */
  resize({ desired_vcpus: vcpus, desired_ram: ram, desired_balloon: balloon }: VmResize): void {
    const { cpus, memory } = this.#given;
    if ((vcpus ?? cpus.boot_vcpus) !== cpus.boot_vcpus || (ram ?? memory.size) !== memory.size)
      throw new UnsupportedError(["vm.resize of vCPUs and RAM of a booted VM"]);
    const { machine } = this.#vm;
    if (balloon !== undefined && machine !== undefined) this.#given = resizeBalloon(machine, this.#given, balloon);
  }

  memoryActualSize(): number {
    const { machine } = this.#vm;
    return machine === undefined ? this.#given.memory.size : guestRamBytes(machine, this.#given);
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

  counters(): VmCounters {
    const { pci } = this.#vm.machine?.devices ?? {};
    const entries = this.#virtio.map((entry) => {
      const { id } = entry.device.transport;
      return [id, deviceCounters(entry, pci?.virtio(id)?.counters ?? [])] as const;
    });
    return Object.fromEntries(entries.flatMap(([id, counters]) => (counters === undefined ? [] : [[id, counters]])));
  }

  async metrics(): Promise<LifeMetrics> {
    const { lifeMetrics } = await import("./life-metrics.ts");
    const { machine } = this.#vm;
    return machine === undefined ? { devices: [], vcpus: [] } : lifeMetrics(machine, this.#vm.vcpuStatsFds);
  }

  deviceTree(): DeviceTree {
    const nodes: DeviceNode[] = [{ id: "__ioapic", resources: [], children: [] }];
    if (this.#given.serial.mode !== "Off") nodes.push({ id: "__serial", resources: [], children: [] });
    for (const entry of this.#virtio) {
      const { slot, device } = entry;
      const { id } = device.transport;
      const parent = `_virtio-pci-${id}`;
      nodes.push({ ...this.#pciNode(slot, id), id: parent, children: [id] });
      nodes.push({ id, resources: memoryOf(entry), children: [], parent });
    }
    for (const { slot, device } of this.#vm.machine?.wiring.pci.functions ?? [])
      nodes.push(this.#pciNode(slot, device.id));
    return Object.fromEntries(nodes.map((node) => [node.id, node]));
  }

  get #virtio(): readonly VirtioWiring[] {
    return this.#vm.machine?.wiring.pci.devices ?? [];
  }

  /** Devices of a kind, with their identifiers. */
  #identified<D extends { readonly id?: string }>(kind: VirtioWiring["kind"], devices: readonly D[]): D[] {
    const ids = this.#virtio.filter((entry) => entry.kind === kind).map(({ device }) => device.transport.id);
    return devices.map((device, i) => ({ ...device, id: device.id ?? ids[i] ?? "" }));
  }

  #pciNode(slot: number, id: string): DeviceNode {
    const bars = this.#vm.machine?.devices.pci.function(id)?.bars ?? [];
    return {
      id,
      resources: bars.map(({ index, mapped, size, kind, prefetchable = false }) => {
        const type_ = kind === "memory32" ? "Mmio32" : "Mmio64";
        return { PciBar: { index, base: mapped, size, type_, prefetchable } };
      }),
      children: [],
      pci_bdf: `0000:00:${slot.toString(16).padStart(2, "0")}.0`,
    };
  }
}

/** The memory that a device has outside its BARs. */
function memoryOf(entry: VirtioWiring): DeviceResource[] {
  if (entry.kind !== "pmem") return [];
  const { gpa: base, size } = entry.device.region;
  return [{ MmioAddressRange: { base, size } }];
}
