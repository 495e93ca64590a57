import { Bus } from "../../devices/bus.ts";
import type { NoticeListener } from "../../devices/notices.ts";
import { filterProgram } from "../../host/seccomp/filter-program.ts" with { type: "macro" };
import { isolateCores } from "../../host/thread.ts";
import { KvmVcpu } from "../../hypervisor/kvm/vcpu.ts";
import { MachineDevices } from "../../machine/x86_64/machine-devices.ts";
import { confineThread } from "../../threads/confinement.ts";
import { log } from "../../threads/log.ts";
import { serveJobs } from "../../threads/serve-jobs.ts";
import type { VcpuJob } from "../jobs.ts";
import { onThread } from "../on-thread.ts";
import { PendingRequest, runVcpu, type VcpuOutcome } from "../vcpu-loop.ts";

const FILTER = filterProgram("vcpu");

serveJobs(
  (job: VcpuJob, notify: NoticeListener): VcpuOutcome =>
    onThread(job, (control) => {
      if (job.ownCore) isolateCores("thread");
      const pending = new PendingRequest();
      const devices = new MachineDevices(job.machine, { machine: pending, notify, log: log.info });
      const ports = new Bus();
      const mmio = new Bus();
      devices.attach(ports, mmio);
      const { ioapic } = devices.platform;
      const endOfInterrupt = (vector: number): void => ioapic.endOfInterrupt(vector);
      confineThread(FILTER, job.seccomp);
      return runVcpu(new KvmVcpu(job.vcpu), { ports, mmio, pending, endOfInterrupt }, control);
    }),
);
