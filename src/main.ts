import { basename } from "node:path";
import { LAUNCHER_NAME, SIZE_WATCH_NAME } from "./host/own-program.ts";

/** One binary, several names: what it does follows from the name it is called by. */
const argv = process.argv.slice(2);
switch (basename(process.argv0)) {
  case LAUNCHER_NAME: {
    const { serveLauncher } = await import("./host/launcher/serve.ts");
    const { LAUNCHABLE_PROGRAMS } = await import("./vmm/launchable-programs.ts");
    const { dropPrivileges } = await import("./host/privileges.ts");
    const { LAUNCHER_CAPABILITIES } = await import("./vmm/confinement/capabilities.ts");
    const { restorePlacement } = await import("./host/launcher/placement.ts");
    restorePlacement(argv[0]);
    dropPrivileges(LAUNCHER_CAPABILITIES);
    serveLauncher(LAUNCHABLE_PROGRAMS);
    break;
  }
  case SIZE_WATCH_NAME: {
    const { watchTerminalSize } = await import("./vmm/consoles/watch-terminal-size.ts");
    await watchTerminalSize();
    break;
  }
  case "ch-remote": {
    const { chRemote } = await import("./cli/ch-remote/ch-remote.ts");
    process.exit(await chRemote(argv));
    break;
  }
  default: {
    if (argv[0] === "disk") {
      const { runDiskTool } = await import("./cli/disk/disk.ts");
      process.exit(await runDiskTool(argv.slice(1)));
    }
    const { runCloudHypervisor } = await import("./cli/cloud-hypervisor.ts");
    await runCloudHypervisor(argv);
  }
}
