import { AcpiPower } from "../../../src/devices/acpi-power.ts";
import { CpuHotplug } from "../../../src/devices/cpu-hotplug.ts";
import { Ged, GedEvent } from "../../../src/devices/ged.ts";
import { PciHotplug } from "../../../src/devices/pci-hotplug.ts";
import { PmTimer } from "../../../src/devices/pm-timer.ts";
import { block, CountingLine, RecordedRequests } from "../../unit/devices/access.ts";
import type { FuzzTarget } from "../engine/target.ts";
import { playRegisters } from "../support/registers.ts";

const SEGMENTS = 3;
const VCPUS = 5;

export const target: FuzzTarget = {
  what: "ACPI register blocks: power, PM timer, GED, CPU and PCI hotplug",
  maxBytes: 512,
  open: () => {
    let now = 0;
    const requests = new RecordedRequests();
    const ged = new Ged(block(Ged.blockSize), new CountingLine());
    const cpus = new CpuHotplug(block(CpuHotplug.blockSize(VCPUS)), 2, VCPUS);
    const slots = new PciHotplug(block(PciHotplug.blockSize), SEGMENTS, (segment, slot) => {
      if (segment < 0 || segment >= SEGMENTS || slot < 0 || slot > 31) throw new Error(`ejects ${segment}.${slot}`);
    });
    const timer = new PmTimer(block(PmTimer.blockSize), 0, () => now);
    const registers = [
      { device: ged, length: 1, widest: 8 },
      { device: cpus, length: 12, widest: 8, places: [0, 4, 5, 8] },
      { device: slots, length: 16, widest: 8, places: [0, 4, 8, 12] },
      { device: timer, length: 4, widest: 4 },
      { device: new AcpiPower(requests), length: 4, widest: 4 },
    ] as const;
    return (input) => {
      now = 0;
      requests.asked.length = 0;
      playRegisters(input, registers, [ged, cpus, slots, timer], () => {
        const segment = input.below(SEGMENTS);
        const slot = input.below(32);
        const act = input.below(5);
        if (act === 0) slots.plugged(segment, slot);
        else if (act === 1) slots.requestEject(segment, slot);
        else if (act === 2) slots.forget(segment, slot);
        else if (act === 3) ged.notify(GedEvent.POWER_BUTTON);
        else now += input.u64();
      });
    };
  },
};
