import { KvmStats } from "../hypervisor/kvm/stats.ts";
import { isVirtio } from "../machine/pci-devices.ts";
import type { LifeMetrics } from "./control/vm-metrics.ts";
import { deviceSums } from "./device-counters.ts";
import type { Machine } from "./machine.ts";

/** The statistics of a vCPU that are worth telling, by KVM's names. */
const VCPU_STATS = ["exits", "io_exits", "mmio_exits", "halt_exits", "irq_injections"] as const;

/**
 * Reads what devices and hypervisor have counted. Loaded when somebody asks.
 * @param statsFds of the vCPUs; undefined where the hypervisor has none
 * @throws SysError
 */
export function lifeMetrics(machine: Machine, statsFds: readonly (number | undefined)[]): LifeMetrics {
  const devices = machine.pci.placed.flatMap(({ id, wiring, counters: queues }) => {
    const counters = isVirtio(wiring) ? deviceSums(wiring, queues) : undefined;
    return counters === undefined ? [] : [{ id, kind: wiring.kind, counters }];
  });
  const [first] = statsFds.filter((fd) => fd !== undefined);
  const stats = first === undefined ? undefined : new KvmStats(first);
  const vcpus = statsFds.map((fd) => (fd === undefined ? {} : (stats?.read(fd, VCPU_STATS) ?? {})));
  return { devices, vcpus };
}
