import type { ConsoleConfig } from "../schema/consoles.ts";
import type { FwCfgConfig, PayloadConfig } from "../schema/payload.ts";
import type { VmConfig } from "../schema/vm.ts";
import { type Checks, refuse } from "./checks.ts";

const NOTHING_TO_BOOT = "nothing to boot: give a kernel or firmware with --kernel or --firmware";

function checkFwCfg(payload: PayloadConfig, fwCfg: FwCfgConfig): void {
  for (const name of ["kernel", "cmdline", "initramfs"] as const)
    if (fwCfg[name] && payload[name] === undefined)
      refuse(
        "fw-cfg-missing-payload",
        `fw_cfg is to expose the ${name}: give --${name} or --fw-cfg-config ${name}=off`,
      );
  for (const item of fwCfg.items?.item_list ?? [])
    if ((item.file === undefined) === (item.string === undefined))
      refuse("fw-cfg-item", `fw_cfg item '${item.name}' needs a file or a string, and not both`);
}

/** Rules 1 to 8. The payload that results: firmware takes neither a command line nor an initramfs. @throws ValidationError */
export function checkPayload(checks: Checks): PayloadConfig {
  const { config, warnings } = checks;
  const { payload } = config;
  if (payload === undefined) refuse("no-payload", NOTHING_TO_BOOT);
  let result = payload;
  if (payload.igvm !== undefined) {
    if (payload.firmware !== undefined) refuse("igvm-exclusive", "an IGVM file and firmware cannot be booted together");
  } else {
    if (payload.firmware !== undefined && payload.kernel !== undefined)
      refuse("firmware-and-kernel", "--firmware and --kernel exclude each other");
    if (payload.firmware === undefined && payload.kernel === undefined) refuse("no-payload", NOTHING_TO_BOOT);
    if (payload.firmware !== undefined && (payload.cmdline !== undefined || payload.initramfs !== undefined)) {
      const { cmdline, initramfs, ...rest } = payload;
      if (cmdline !== undefined) warnings.push("--cmdline is ignored when firmware is booted");
      if (initramfs !== undefined) warnings.push("--initramfs is ignored when firmware is booted");
      result = rest;
    }
    if (result.fw_cfg_config !== undefined) checkFwCfg(result, result.fw_cfg_config);
  }
  if (config.platform?.sev_snp) {
    const length = payload.host_data?.length;
    if (length !== undefined && length !== 64) refuse("host-data", `host data is ${length} characters long, not 64`);
    if (payload.igvm === undefined) refuse("sev-snp-igvm", "a SEV-SNP guest boots from an IGVM file: give --igvm");
  }
  return result;
}

/** The warning about several consoles on one terminal, and rule 9. @throws ValidationError */
export function checkConsoles({ config, warnings }: Checks): void {
  const consoles: readonly (readonly [string, Pick<ConsoleConfig, "mode" | "file"> | undefined])[] = [
    ["--console", config.console],
    ["--serial", config.serial],
    ["--debug-console", config.debug_console],
  ];
  const onTerminal = consoles.filter(([, device]) => device?.mode === "Tty").map(([option]) => option);
  if (onTerminal.length > 1) {
    const input = onTerminal.includes("--serial") ? ", input goes to --serial" : "";
    warnings.push(`${onTerminal.join(" and ")} share the terminal: their output will mix${input}`);
  }
  for (const [option, device] of consoles.slice(0, 2))
    if (device?.mode === "File" && device.file === undefined)
      refuse("console-file", `${option} in file mode needs a path`);
}

/** Some device or segment asks for the virtual IOMMU. */
export function needsIommu(config: VmConfig): boolean {
  const devices = [config.disks, config.net, config.pmem, config.vdpa, config.devices, config.fs, config.user_devices];
  const single = [config.rng, config.console, config.balloon, config.vsock, config.rtc, config.ivshmem];
  return (
    config.iommu ||
    config.platform?.iommu_segments !== undefined ||
    single.some((device) => device?.iommu === true) ||
    devices.some((list) => list?.some((device) => device.iommu) === true)
  );
}
