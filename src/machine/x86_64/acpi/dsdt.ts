import { buffer, eisaId, text } from "../../acpi/aml/data.ts";
import { device, method, name } from "../../acpi/aml/objects.ts";
import { call, returnValue } from "../../acpi/aml/operators.ts";
import { edgeInterrupt, ioPorts, resourceTemplate, wordIo } from "../../acpi/aml/resources.ts";
import type { Term } from "../../acpi/aml/term.ts";
import { cpuContainer, cpuHotplugController } from "../../acpi/dsdt/cpu.ts";
import { eventDevices } from "../../acpi/dsdt/events.ts";
import { memoryHotplugController } from "../../acpi/dsdt/memory-hotplug.ts";
import { type HostBridgePorts, pciHostBridges } from "../../acpi/dsdt/pci-host-bridge.ts";
import { pciHotplugController } from "../../acpi/dsdt/pci-hotplug.ts";
import { motherboardResources, powerButton, softOff, tpmDevice } from "../../acpi/dsdt/platform.ts";
import { vmGenerationId } from "../../acpi/dsdt/vm-generation-id.ts";
import { nodeOfSegment, nodesOfCpus } from "../../acpi/numa.ts";
import { writeTable } from "../../acpi/table.ts";
import { concat } from "../../byte-string.ts";
import type { ByteWriter } from "../../byte-writer.ts";
import { GSI, PORTS, TPM_BASE, VM_GENERATION_ID } from "../platform.ts";
import type { AcpiInputs } from "./inputs.ts";
import { presentX2Apic } from "./madt.ts";

/** Revision 2 and above: AML integers are of 64 bits. */
const REVISION = 6;

/** Appends the differentiated system description table (ACPI 6.5 section 5.2.11.1). @returns its offset */
export function writeDsdt(out: ByteWriter, inputs: AcpiInputs): number {
  const { controllers, pciSegments } = inputs;
  const numa = inputs.numa ?? [];
  return writeTable(out, { signature: "DSDT", oemTableId: "CHDSDT", revision: REVISION }, (body) => {
    body.byteString(
      concat([
        pciHotplugController(controllers.pciHotplug, pciSegments.length),
        pciHostBridges(pciSegments, GSI.firstIntx, (segment) => nodeOfSegment(numa, segment), pciPorts()),
        motherboardResources(pciSegments),
        ...(inputs.fwCfg ? [fwCfgDevice()] : []),
        ...(inputs.serial ? [serialPort()] : []),
        softOff(),
        powerButton(),
        ...(inputs.tpm ? [tpmDevice(TPM_BASE)] : []),
        vmGenerationId(VM_GENERATION_ID),
        eventDevices(controllers.events, GSI.events),
        cpuHotplugController(controllers.cpuHotplug),
        cpuContainer(inputs.cpus.apicIds.length, hotpluggableCpu(inputs)),
        memoryHotplugController(controllers.memoryHotplug),
      ]),
    );
  });
}

/** The ports of the configuration mechanism, and all others as the windows to the devices. */
function pciPorts(): HostBridgePorts {
  const { base, count } = PORTS.pciConfiguration;
  return {
    configuration: [ioPorts(base, count, 1)],
    windows: [wordIo({ min: 0, max: base - 1 }), wordIo({ min: base + count, max: 0xffff })],
  };
}

const fwCfgDevice = (): Term =>
  device(
    "\\_SB_.FWCF",
    name("_HID", text("QEMU0002")),
    name("_STA", 0x0b),
    name("_CRS", resourceTemplate(ioPorts(PORTS.fwCfg.base, PORTS.fwCfg.count, 1))),
  );

const serialPort = (): Term =>
  device(
    "\\_SB_.COM1",
    name("_HID", eisaId("PNP0501")),
    name("_UID", 0),
    name("_DDN", text("COM1")),
    name("_CRS", resourceTemplate(edgeInterrupt(GSI.serial), ioPorts(PORTS.serial.base, PORTS.serial.count, 0))),
  );

/** What a CPU object holds besides its identity: presence, NUMA node, APIC, and ejection. */
function hotpluggableCpu(inputs: AcpiInputs): (index: number) => Term {
  const { apicIds } = inputs.cpus;
  const nodeOf = nodesOfCpus(inputs.numa ?? [], apicIds.length);
  return (index) => {
    return concat([
      method("_STA", 0, "Serialized", returnValue(call("CSTA", index))),
      name("_PXM", nodeOf[index] ?? 0),
      name("_MAT", buffer(presentX2Apic(index, apicIds[index] ?? index))),
      method("_EJ0", 1, "Serialized", call("CEJ0", index)),
    ]);
  };
}
