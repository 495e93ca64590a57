import { runCommand } from "citty";
import type { ApiServer } from "../api/api-server.ts";
import type { VmConfig } from "../config/schema/vm.ts";
import { refuseUnsupportedOptions } from "../config/supported.ts";
import { readVmConfig } from "../config/vm-config.ts";
import { type Endpoint, parseApiSocket, parseEventMonitor } from "../config/vmm-options.ts";
import { prepareEveryThread } from "../host/every-thread.ts";
import { libc } from "../host/libc.ts";
import { dropPrivileges } from "../host/privileges.ts";
import type { SeccompMode } from "../host/seccomp/install.ts";
import { logger } from "../threads/log.ts";
import { neededCapabilities } from "../vmm/confinement/capabilities.ts";
import type { EventListener } from "../vmm/control/events.ts";
import type { VmmControl } from "../vmm/control/vmm-control.ts";
import { restoreTerminal } from "../vmm/terminal.ts";
import { Vmm } from "../vmm/vmm.ts";
import { buildVersion, packageVersion } from "./build-version.ts";
import { cloudHypervisorCommand } from "./command.ts";
import { confineProcess } from "./confine-process.ts";
import { errorDebugText, failureText } from "./error-chain.ts";
import { type Logging, startLogging } from "./logging.ts";
import type { RunRequest } from "./parse.ts";
import { print } from "./print.ts";
import { refuseForeignSettings } from "./runtime-settings.ts";
import { BUILD_FEATURES } from "./version.ts";
import { startVmmLauncher } from "./vmm-launcher.ts";

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
    refuseForeignSettings(Object.keys(process.env));
    refuseUnsupportedOptions(request.options);
    // Before anything is open that a child could get, and before this process is confined.
    startVmmLauncher(request);
    const apiSocket = apiEndpoint(request);
    const logging = startLogging(request);
    const { consola, settings } = logging;
    consola.info(`cloud-hypervisor ${buildVersion}`);
    prepareEveryThread();
    confineProcess(request.seccomp);
    const onEvent = await eventListener(request);
    const vmm = new Vmm({
      log: settings,
      seccomp: request.seccomp,
      noShutdown: request.noShutdown,
      onEvent,
      apiSocket: apiSocket !== undefined && "path" in apiSocket ? apiSocket.path : undefined,
    });
    process.on("SIGTERM", vmm.stop);
    process.on("SIGINT", vmm.stop);
    process.on("SIGWINCH", vmm.resizeConsole);
    // Before there are threads that could not give up anything themselves.
    if (apiSocket !== undefined) dropPrivileges(neededCapabilities("any"));
    const api = await apiServer(apiSocket, vmm.control, request.seccomp);
    onEvent({ source: "vmm", event: "starting" });
    const config = request.start === "boot" ? vmConfig(request, logging) : undefined;
    if (apiSocket === undefined) dropPrivileges(neededCapabilities(config?.net));
    if (config !== undefined) await vmm.boot(config);
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
async function apiServer(
  endpoint: Endpoint | undefined,
  control: VmmControl,
  seccomp: SeccompMode | undefined,
): Promise<ApiServer | undefined> {
  if (endpoint === undefined) return undefined;
  const { startApi } = await import("../api/api-server.ts");
  const identity = { buildVersion, version: packageVersion, features: BUILD_FEATURES };
  return startApi(endpoint, control, identity, seccomp);
}
