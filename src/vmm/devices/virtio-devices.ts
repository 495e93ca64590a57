import type { VmConfig } from "../../config/schema/vm.ts";
import { VirtioBuilder, type VirtioResources } from "./builder.ts";
import { placeConsole } from "./console.ts";
import { placeDisk } from "./disk.ts";
import { placeRng } from "./rng.ts";

/**
 * Makes the virtio devices of a VM. Their order decides their slots, which guests rely on (machine-x86_64.md, 6.2).
 * @throws PciSlotError, BarSpaceError, SysError and the devices' own errors
 */
export function makeVirtioDevices(config: VmConfig, resources: VirtioResources): VirtioBuilder {
  const { disks = [] } = config;
  const builder = new VirtioBuilder(resources, [config.console, ...disks, config.rng]);
  placeConsole(builder, config.console);
  for (const disk of disks) placeDisk(builder, disk);
  placeRng(builder, config.rng);
  return builder;
}
