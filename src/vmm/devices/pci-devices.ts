import type { VmConfig } from "../../config/schema/vm.ts";
import { placeBalloon } from "./balloon.ts";
import { PciBuilder, type PciResources } from "./builder.ts";
import { placeConsole } from "./console.ts";
import { placeDisk } from "./disk.ts";
import { placeIvshmem } from "./ivshmem.ts";
import { placeNet } from "./net.ts";
import { placePmem } from "./pmem.ts";
import { placePvpanic } from "./pvpanic.ts";
import { placeRng } from "./rng.ts";
import { placeRtc } from "./rtc.ts";
import { placeVsock } from "./vsock.ts";
import { placeWatchdog } from "./watchdog.ts";

/**
 * Makes the PCI devices of a VM. Their order decides their slots, which guests rely on (machine-x86_64.md, 6.2).
 * @throws PciSlotError, BarSpaceError, SysError and the devices' own errors
 */
export function makePciDevices(config: VmConfig, resources: PciResources): PciBuilder {
  const { disks = [], net: nets = [], pmem = [] } = config;
  const { vsock = {}, balloon = {}, rtc = {}, ivshmem = {} } = config;
  const single = [config.console, config.rng, vsock, balloon, rtc, ivshmem];
  const builder = new PciBuilder(resources, [...single, ...disks, ...nets, ...pmem]);
  placeConsole(builder, config.console);
  for (const disk of disks) placeDisk(builder, disk);
  for (const net of nets) placeNet(builder, net);
  placeRng(builder, config.rng);
  for (const device of pmem) placePmem(builder, device);
  if (config.vsock !== undefined) placeVsock(builder, config.vsock);
  if (config.balloon !== undefined) placeBalloon(builder, config.balloon);
  if (config.watchdog) placeWatchdog(builder);
  if (config.rtc !== undefined) placeRtc(builder, config.rtc);
  if (config.pvpanic) placePvpanic(builder);
  if (config.ivshmem !== undefined) placeIvshmem(builder, config.ivshmem);
  return builder;
}
