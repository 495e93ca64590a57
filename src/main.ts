import { basename } from "node:path";
import { refuseForeignSettings } from "./cli/runtime-settings.ts";
import { LAUNCHER_NAME, SIZE_WATCH_NAME } from "./host/own-program.ts";

/** One binary, several names: what it does follows from the name it is called by. */
const argv = process.argv.slice(2);

/** What the VMM tells as one of its errors, on behalf of all else. */
function checkSettings(): void {
  try {
    refuseForeignSettings(Object.keys(process.env));
  } catch (error) {
    process.stderr.write(`Error: ${error instanceof Error ? error.message : error}\n`);
    process.exit(1);
  }
}

switch (basename(process.argv0)) {
  case LAUNCHER_NAME: {
    checkSettings();
    const { serveLauncher } = await import("./host/launcher/serve.ts");
    const { launchablePrograms } = await import("./vmm/launchable-programs.ts");
    const { dropPrivileges } = await import("./host/privileges.ts");
    const { launcherCapabilities } = await import("./vmm/confinement/capabilities.ts");
    const { restorePlacement } = await import("./host/launcher/placement.ts");
    const [launches, placement] = argv;
    restorePlacement(placement);
    const programs = launchablePrograms(launches);
    dropPrivileges(launcherCapabilities(programs));
    serveLauncher(programs);
    break;
  }
  case SIZE_WATCH_NAME: {
    checkSettings();
    const { watchTerminalSize } = await import("./vmm/consoles/watch-terminal-size.ts");
    await watchTerminalSize();
    break;
  }
  case "ch-remote": {
    checkSettings();
    const { chRemote } = await import("./cli/ch-remote/ch-remote.ts");
    process.exit(await chRemote(argv));
    break;
  }
  default: {
    if (argv[0] === "disk") {
      checkSettings();
      const { runDiskTool } = await import("./cli/disk/disk.ts");
      process.exit(await runDiskTool(argv.slice(1)));
    }
    const { runCloudHypervisor } = await import("./cli/cloud-hypervisor.ts");
    await runCloudHypervisor(argv);
  }
}
