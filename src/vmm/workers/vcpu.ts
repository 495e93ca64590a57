import { Bus } from "../../devices/bus.ts";
import { setThreadAffinity } from "../../host/thread.ts";
import { GsiRouting } from "../../hypervisor/kvm/gsi-routing.ts";
import { KvmVcpu } from "../../hypervisor/kvm/vcpu.ts";
import { PlatformDevices } from "../../machine/x86_64/platform-devices.ts";
import { blockAt } from "../../threads/block-ref.ts";
import { ThreadControl } from "../../threads/control.ts";
import { log } from "../../threads/log.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { VcpuJob } from "../jobs.ts";
import { startThreadLog } from "../thread-log.ts";
import { PendingRequest, runVcpu, type VcpuOutcome } from "../vcpu-loop.ts";

serveJobs((job: VcpuJob): VcpuOutcome => {
  const { name, machine, affinity } = job;
  const control = new ThreadControl(blockAt(job.control));
  control.enter(name);
  try {
    startThreadLog(name, job.log);
    if (affinity !== undefined) setThreadAffinity(affinity);
    const pending = new PendingRequest();
    const platform = new PlatformDevices(machine.platform, {
      machine: pending,
      router: new GsiRouting(machine.vmFd, blockAt(machine.routing)),
      log: log.info,
    });
    const ports = new Bus();
    const mmio = new Bus();
    platform.attach(ports, mmio);
    return runVcpu(
      new KvmVcpu(job.vcpu),
      { ports, mmio, pending, endOfInterrupt: (vector) => platform.ioapic.endOfInterrupt(vector) },
      control,
    );
  } finally {
    control.leave();
  }
});
