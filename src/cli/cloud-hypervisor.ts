import { runCommand } from "citty";
import type { ApiServer } from "../api/api-server.ts";
import type { VmConfig } from "../config/schema/vm.ts";
import { refuseUnsupportedOptions } from "../config/supported.ts";
import { readVmConfig } from "../config/vm-config.ts";
import { type Endpoint, parseApiSocket, parseEventMonitor } from "../config/vmm-options.ts";
import { libc } from "../host/libc.ts";
import { logger } from "../threads/log.ts";
import type { EventListener } from "../vmm/control/events.ts";
import type { VmmControl } from "../vmm/control/vmm-control.ts";
import { restoreTerminal } from "../vmm/terminal.ts";
import { Vmm } from "../vmm/vmm.ts";
import { buildVersion, packageVersion } from "./build-version.ts";
import { cloudHypervisorCommand } from "./command.ts";
import { errorDebugText, failureText } from "./error-chain.ts";
import { type Logging, startLogging } from "./logging.ts";
import type { RunRequest } from "./parse.ts";
import { print } from "./print.ts";
import { BUILD_FEATURES } from "./version.ts";

const log = logger("cli");

const UMASK = 0o077;
const FAILURE = 1;

/**
 * The `cloud-hypervisor` command: reads the command line, runs the VMM and ends the process.
 * @param argv arguments without the program's name
 */
export async function runCloudHypervisor(argv: readonly string[]): Promise<never> {
  libc.umask(UMASK);
  // What is thrown outside of `run`: by a listener, by a promise that nobody waits for, while the command line is read.
  for (const event of ["uncaughtException", "unhandledRejection"] as const)
    process.on(event, (error: unknown) => process.exit(fail(error)));
  const { result } = await runCommand(cloudHypervisorCommand(run), { rawArgs: [...argv] });
  process.exit(typeof result === "number" ? result : FAILURE);
}

/** Tells the user, on a terminal that is theirs again, why the program fails. @returns the exit status */
function fail(error: unknown): number {
  restoreTerminal();
  log.error(errorDebugText(error));
  print("stderr", failureText(error));
  return FAILURE;
}

/** @returns the exit status */
async function run(request: RunRequest): Promise<number> {
  try {
    refuseUnsupportedOptions(request.options);
    const apiSocket = apiEndpoint(request);
    const logging = startLogging(request);
    const { consola, settings } = logging;
    consola.info(`cloud-hypervisor ${buildVersion}`);
    const onEvent = await eventListener(request);
    const vmm = new Vmm({ log: settings, noShutdown: request.noShutdown, onEvent });
    process.on("SIGTERM", vmm.stop);
    process.on("SIGINT", vmm.stop);
    process.on("SIGWINCH", vmm.resizeConsole);
    const api = await apiServer(apiSocket, vmm.control);
    onEvent({ source: "vmm", event: "starting" });
    if (request.start === "boot") await vmm.boot(vmConfig(request, logging));
    await vmm.ended;
    await api?.finish(true);
    consola.info("cloud-hypervisor exited successfully");
    return 0;
  } catch (error) {
    return fail(error);
  }
}

/** The VM that the command line describes. It is validated when it boots. */
function vmConfig({ options }: RunRequest, { consola }: Logging): VmConfig {
  const { config, warnings } = readVmConfig(options);
  for (const warning of warnings) consola.warn(warning);
  return config;
}

/** Only a VMM that is asked to report events loads what reports them. */
async function eventListener({ options }: RunRequest): Promise<EventListener> {
  const text = options.text("event-monitor");
  if (text === undefined) return () => undefined;
  const { EventMonitor } = await import("../api/event-monitor.ts");
  return new EventMonitor(parseEventMonitor(text)).report;
}

function apiEndpoint({ options }: RunRequest): Endpoint | undefined {
  const text = options.text("api-socket");
  return text === undefined ? undefined : parseApiSocket(text);
}

/** Only a VMM that is asked to serve the API loads it. */
async function apiServer(endpoint: Endpoint | undefined, control: VmmControl): Promise<ApiServer | undefined> {
  if (endpoint === undefined) return undefined;
  const { startApi } = await import("../api/api-server.ts");
  return startApi(endpoint, control, {
    buildVersion,
    version: packageVersion,
    features: BUILD_FEATURES,
  });
}
