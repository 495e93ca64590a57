import { hostArch } from "../arch.ts";
import type { VmConfig } from "../schema/vm.ts";
import type { ConfigWithWarnings } from "../vm-config.ts";
import { Checks, type Platform } from "./checks.ts";
import { checkCpuCounts, checkMemory, checkTopology } from "./cpus-and-memory.ts";
import {
  checkBalloon,
  checkIvshmem,
  checkPlainDevices,
  checkUserAndVdpaDevices,
  checkVfioDevices,
  checkVhostUserDevices,
  checkVsock,
  checkVsockCid,
} from "./devices.ts";
import { checkDisks, checkNets, checkRateLimitGroups } from "./disks-and-nets.ts";
import { checkConsoles, checkPayload, needsIommu } from "./payload.ts";
import { checkLandlockRules, checkNuma, checkPciSegments, checkPlatform, checkZoneIds } from "./platform.ts";

/**
 * Checks what a configuration says as a whole, rule after rule in a fixed order; the first that is broken is reported. Files
 * are looked at, nothing is opened. The result differs from the argument where the rules say so: firmware drops the command
 * line and the initramfs, and the IOMMU is there as soon as a device needs it.
 * @throws ValidationError
 */
export function validateVmConfig(
  config: VmConfig,
  platform: Platform = { arch: hostArch(), hypervisor: "kvm" },
): ConfigWithWarnings {
  const checks = new Checks(config, platform);
  const payload = checkPayload(checks);
  checkConsoles(checks);
  checkCpuCounts(checks);
  checkRateLimitGroups(checks);
  checkDisks(checks);
  checkNets(checks);
  checkVhostUserDevices(checks);
  checkPlainDevices(checks);
  checkTopology(checks);
  checkMemory(checks);
  checkUserAndVdpaDevices(checks);
  checkVsockCid(checks);
  checkBalloon(checks);
  checkVfioDevices(checks);
  checkVsock(checks);
  checkNuma(checks);
  checkZoneIds(checks);
  checkPciSegments(checks);
  checkPlatform(checks);
  checkLandlockRules(checks);
  checkIvshmem(checks);
  return { config: { ...config, payload, iommu: needsIommu(config) }, warnings: checks.warnings };
}
