import { runCommand } from "citty";
import type { VmConfig } from "../config/schema/vm.ts";
import { refuseUnsupportedConfig, refuseUnsupportedOptions } from "../config/supported.ts";
import { validateVmConfig } from "../config/validate/validate.ts";
import { readVmConfig } from "../config/vm-config.ts";
import { libc } from "../host/libc.ts";
import { Vmm } from "../vmm/vmm.ts";
import { buildVersion } from "./build-version.ts";
import { cloudHypervisorCommand } from "./command.ts";
import { errorDebugText, failureText } from "./error-chain.ts";
import { type Logging, startLogging } from "./logging.ts";
import type { RunRequest } from "./parse.ts";
import { print } from "./print.ts";

const UMASK = 0o077;
const FAILURE = 1;

/**
 * The `cloud-hypervisor` command: reads the command line, runs the VMM and ends the process.
 * @param argv arguments without the program's name
 */
export async function runCloudHypervisor(argv: readonly string[]): Promise<never> {
  libc.umask(UMASK);
  const { result } = await runCommand(cloudHypervisorCommand(run), { rawArgs: [...argv] });
  process.exit(typeof result === "number" ? result : FAILURE);
}

/** @returns the exit status */
async function run(request: RunRequest): Promise<number> {
  let logging: Logging | undefined;
  try {
    refuseUnsupportedOptions(request.options);
    logging = startLogging(request);
    const { consola, settings } = logging;
    consola.info(`cloud-hypervisor ${buildVersion}`);
    const vmm = new Vmm(settings, request.noShutdown);
    process.on("SIGTERM", vmm.stop);
    process.on("SIGINT", vmm.stop);
    process.on("SIGWINCH", vmm.resizeConsole);
    await vmm.run(vmConfig(request, logging));
    consola.info("cloud-hypervisor exited successfully");
    return 0;
  } catch (error) {
    logging?.consola.error(errorDebugText(error));
    print("stderr", failureText(error));
    return FAILURE;
  }
}

/** The VM that the command line describes, checked; undefined when it describes none. */
function vmConfig({ options, start }: RunRequest, { consola }: Logging): VmConfig | undefined {
  if (start !== "boot") return undefined;
  const { config, warnings } = readVmConfig(options);
  for (const warning of warnings) consola.warn(warning);
  const validated = validateVmConfig(config);
  for (const warning of validated.warnings) consola.warn(warning);
  refuseUnsupportedConfig(validated.config);
  return validated.config;
}
