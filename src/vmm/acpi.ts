import type { VmConfig } from "../config/schema/vm.ts";
import { type AcpiTables, buildAcpiTables } from "../machine/x86_64/acpi/tables.ts";
import type { MachinePlan } from "./machine-plan.ts";

/** The ACPI tables of a machine. @throws AcpiTablesTooLargeError */
export function acpiTables(config: VmConfig, plan: MachinePlan): AcpiTables {
  const { apicIds } = plan;
  return buildAcpiTables({
    cpus: { boot: config.cpus.boot_vcpus, apicIds },
    pciSegments: plan.segments,
    controllers: plan.space.controllers,
    serial: config.serial.mode !== "Off",
    fwCfg: config.payload?.fw_cfg_config !== undefined,
    tpm: config.tpm !== undefined,
    nestedHyperV: config.cpus.nested && config.cpus.kvm_hyperv,
  });
}
